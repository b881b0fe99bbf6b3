"""What every service process does alike: settings, logs, start and stop, NATS connections, and
following the registry and the running epoch. Owns no rule of its own and no subject's handler."""
