-- Creates one group role per process. It cannot log in; the operator creates logins that are members. Roles belong to
-- the whole server, not to one database, so another database's migration may create the same role at this moment.

do $$
declare
    process text;
begin
    foreach process in array array['schedulers', 'responder', 'bridge'] loop
        -- A login without the right to create roles can use existing ones.
        continue when exists (select from pg_catalog.pg_roles where rolname = 'zipcast_' || process);
        begin
            execute format('create role %I nologin', 'zipcast_' || process);
        exception when duplicate_object or unique_violation then null;
        end;
    end loop;
    -- Only the import, which runs as the owner, needs temporary tables.
    execute format('revoke create, temporary on database %I from public', current_database());
end $$;

grant usage on schema zipcast to zipcast_schedulers, zipcast_responder, zipcast_bridge;
