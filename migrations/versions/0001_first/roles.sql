-- One group role for each process. It cannot log in: the operator makes a login that is a member. Roles belong to
-- the whole server, not to one database, so another database's migration may be making the same role at this moment.

do $$
declare
    process text;
begin
    foreach process in array array['schedulers', 'responder', 'bridge'] loop
        begin
            execute format('create role %I nologin', 'zipcast_' || process);
        exception when duplicate_object or unique_violation then null;
        end;
    end loop;
    -- Temporary tables are the importer's alone, which runs as the owner.
    execute format('revoke create, temporary on database %I from public', current_database());
end $$;

grant usage on schema zipcast to zipcast_schedulers, zipcast_responder, zipcast_bridge;
