-- A login for each process, member of the role whose rights it has. Run by the owner of the database, with
-- psql 15 or newer, before or after the first migration; again, it changes the passwords.
--   PASSWORD_SCHEDULERS=… PASSWORD_RESPONDER=… PASSWORD_BRIDGE=… psql "$DATABASE_URL_OWNER" -f deploy/logins.sql
\set ON_ERROR_STOP on
\getenv schedulers_password PASSWORD_SCHEDULERS
\getenv responder_password PASSWORD_RESPONDER
\getenv bridge_password PASSWORD_BRIDGE

-- The roles may be there already: the migrations make them too.
select format('create role %I nologin', name)
from unnest(array['zipcast_schedulers', 'zipcast_responder', 'zipcast_bridge']) as name
where not exists (select from pg_roles where rolname = name) \gexec

select format('create role %I login in role %I', login, role)
from (values ('schedulers', 'zipcast_schedulers'), ('responder', 'zipcast_responder'), ('bridge', 'zipcast_bridge'))
    as wanted (login, role)
where not exists (select from pg_roles where rolname = login) \gexec

alter role schedulers password :'schedulers_password';
alter role responder password :'responder_password';
alter role bridge password :'bridge_password';
