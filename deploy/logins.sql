-- Creates a login for each process, as a member of the role with the process's rights. Run it as the owner of the
-- database, with psql 15 or newer, before or after the first migration. Run it again to change the passwords, or to
-- restore settings that a login has changed for itself, which PostgreSQL cannot forbid.
--   PASSWORD_SCHEDULERS=… PASSWORD_RESPONDER=… PASSWORD_BRIDGE=… psql "$DATABASE_URL_OWNER" -f deploy/logins.sql
\set ON_ERROR_STOP on
\getenv schedulers_password PASSWORD_SCHEDULERS
\getenv responder_password PASSWORD_RESPONDER
\getenv bridge_password PASSWORD_BRIDGE

-- The roles may already exist, because the migrations create them too.
select format('create role %I nologin', name)
from unnest(array['zipcast_schedulers', 'zipcast_responder', 'zipcast_bridge']) as name
where not exists (select from pg_roles where rolname = name) \gexec

select format('create role %I login in role %I', login, role)
from (values ('schedulers', 'zipcast_schedulers'), ('responder', 'zipcast_responder'), ('bridge', 'zipcast_bridge'))
    as wanted (login, role)
where not exists (select from pg_roles where rolname = login) \gexec

-- A replica of the responder opens 18 connections, other replicas open 10. The sum of the limits is below the 97
-- connections that PostgreSQL allows by default, so that no login can block the others.
alter role schedulers connection limit 30 password :'schedulers_password';
alter role responder connection limit 40 password :'responder_password';
alter role bridge connection limit 20 password :'bridge_password';

-- Search no other schema, because objects there could be used instead of ours, or instead of PostgreSQL's functions and
-- operators. pg_temp is needed by the owner, who imports zipcodes with temporary tables.
alter role schedulers reset all;
alter role responder reset all;
alter role bridge reset all;
select format('alter role %I in database %I reset all', login, current_database())
from unnest(array['schedulers', 'responder', 'bridge']) as login \gexec
select format('alter role %I in database %I set search_path = zipcast, pg_temp', login, current_database())
from unnest(array['schedulers', 'responder', 'bridge', current_user::text]) as login \gexec

-- Days are in UTC, and no statement or transaction of a service may block others for long. Each process checks these
-- settings when it starts. They are made for the login, because behind a pooler nothing can be set for a session.
select format('alter role %I in database %I set timezone = %L', login, current_database(), 'UTC')
from unnest(array['schedulers', 'responder', 'bridge', current_user::text]) as login \gexec
select format('alter role %I in database %I set %s = %L', login, current_database(), name, value)
from unnest(array['schedulers', 'responder', 'bridge']) as login,
    (values ('statement_timeout', '10s'), ('idle_in_transaction_session_timeout', '30s')) as setting (name, value) \gexec
