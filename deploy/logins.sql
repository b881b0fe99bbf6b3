-- A login for each process, member of the role whose rights it has. Run by the owner of the database, with
-- psql 15 or newer, before or after the first migration; again, it changes the passwords and puts settings back
-- that a login has changed for itself, which PostgreSQL cannot forbid.
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

-- A replica of the responder opens 18 connections, one of the others 10. Together the limits are below the 97 that
-- PostgreSQL leaves by default, so that none of the logins keeps the others out.
alter role schedulers connection limit 30 password :'schedulers_password';
alter role responder connection limit 40 password :'responder_password';
alter role bridge connection limit 20 password :'bridge_password';

-- No other schema is searched, or objects made there could stand in for ours, or for PostgreSQL's own functions and
-- operators. The owner imports zipcodes and makes temporary tables for it.
alter role schedulers reset all;
alter role responder reset all;
alter role bridge reset all;
select format('alter role %I in database %I reset all', login, current_database())
from unnest(array['schedulers', 'responder', 'bridge']) as login \gexec
select format('alter role %I in database %I set search_path = zipcast, pg_temp', login, current_database())
from unnest(array['schedulers', 'responder', 'bridge', current_user::text]) as login \gexec

-- Days are days in UTC. No statement or transaction of a service holds others up for long. A process checks all of
-- these when it starts; they belong to the login, since behind a pooler nothing can be set for a session.
select format('alter role %I in database %I set timezone = %L', login, current_database(), 'UTC')
from unnest(array['schedulers', 'responder', 'bridge', current_user::text]) as login \gexec
select format('alter role %I in database %I set %s = %L', login, current_database(), name, value)
from unnest(array['schedulers', 'responder', 'bridge']) as login,
    (values ('statement_timeout', '10s'), ('idle_in_transaction_session_timeout', '30s')) as setting (name, value) \gexec
