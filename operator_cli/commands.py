"""Lists the operator's commands, which the entry point `operator` adds to `zipcast`."""

from zipcast.cli.command_groups import Command

LOCAL = "Run a local system"
OPERATE = "Operate a service"

_OPERATOR = "operator_cli"
_HOTKEY = "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY"
COMMANDS = (
    Command(
        "up",
        f"{_OPERATOR}.stack:up",
        LOCAL,
        "Run the whole system on this machine until you press Ctrl-C.",
        "up --epoch-length 20s",
    ),
    Command(
        "down",
        f"{_OPERATOR}.stack:down",
        LOCAL,
        "Stop the system that `zipcast up` runs, and keep its state.",
        "down",
    ),
    Command(
        "demo", f"{_OPERATOR}.stack:demo", LOCAL, "Run three short epochs with miners and validators.", "demo"
    ),
    Command(
        "simulate",
        f"{_OPERATOR}.simulate:simulate_epochs",
        LOCAL,
        "Simulate the selection of many epochs.",
        "simulate --epochs 100 --set TARGET_LISTINGS=8000",
    ),
    Command(
        "import",
        f"{_OPERATOR}.zipcodes:import_file",
        OPERATE,
        "Import zipcodes as a new version, in one transaction, and list rejected rows.",
        "import zipcodes.csv --check",
    ),
    Command("zipcodes", "", OPERATE, "List zipcodes, and activate or deactivate them."),
    Command(
        "zipcodes list",
        f"{_OPERATOR}.zipcodes:list_zipcodes",
        OPERATE,
        "List the active zipcodes with their newest data.",
        "zipcodes list --state PA",
    ),
    Command(
        "zipcodes show",
        f"{_OPERATOR}.zipcodes:show_zipcode",
        OPERATE,
        "Show one zipcode with its newest data, and every version that changed it.",
        "zipcodes show 19103",
    ),
    Command(
        "zipcodes deactivate",
        f"{_OPERATOR}.zipcodes:deactivate",
        OPERATE,
        "Remove zipcodes from the pool, from the next epoch whose inputs are not committed yet.",
        "zipcodes deactivate 19103 19104",
    ),
    Command(
        "zipcodes activate",
        f"{_OPERATOR}.zipcodes:activate",
        OPERATE,
        "Return deactivated zipcodes to the pool, from the next epoch whose inputs are not committed yet.",
        "zipcodes activate 19103",
    ),
    Command("imports", "", OPERATE, "Show the versions of the zipcode data."),
    Command(
        "imports list",
        f"{_OPERATOR}.zipcodes:list_imports",
        OPERATE,
        "List all versions, oldest first.",
        "imports list",
    ),
    Command(
        "imports show",
        f"{_OPERATOR}.zipcodes:show_import",
        OPERATE,
        "Show one version: how many zipcodes it had in each state and tier.",
        "imports show 3",
    ),
    Command(
        "migrate",
        f"{_OPERATOR}.stack:migrate_database",
        OPERATE,
        "Upgrade the database to the newest schema.",
        "migrate",
    ),
    Command(
        "backup",
        f"{_OPERATOR}.backup:backup",
        OPERATE,
        "Write a backup of the database, with fingerprints of its epochs and of the keys.",
        "backup backup-1",
    ),
    Command(
        "restore",
        f"{_OPERATOR}.backup:restore",
        OPERATE,
        "Restore a backup into a database without tables, and compare all signed epochs with those of the "
        "backup.",
        "restore .",
    ),
    Command(
        "issuances",
        f"{_OPERATOR}.issuances:list_issuances",
        OPERATE,
        "List issued credentials: the hotkey, the prefix, the expiry, and the address of the request.",
        "issuances --hours 24",
    ),
    Command(
        "s3", "", OPERATE, "Check the object store and revoke access to it, with the responder's settings."
    ),
    Command(
        "s3 check",
        f"{_OPERATOR}.s3:check",
        OPERATE,
        "Test everything that Zipcast needs from the object store, and explain how to fix what fails.",
        "s3 check --env-file responder.env",
    ),
    Command(
        "s3 revoke",
        f"{_OPERATOR}.s3:revoke",
        OPERATE,
        "Immediately stop these hotkeys from writing and from using any session that was issued to them.",
        f"s3 revoke {_HOTKEY}",
    ),
    Command(
        "s3 restore",
        f"{_OPERATOR}.s3:restore",
        OPERATE,
        "Undo the revocation of these hotkeys.",
        f"s3 restore {_HOTKEY}",
    ),
    Command(
        "s3 revoked",
        f"{_OPERATOR}.s3:revoked",
        OPERATE,
        "List the revoked hotkeys, one per line.",
        "s3 revoked",
    ),
    Command(
        "s3 revoke-sessions",
        f"{_OPERATOR}.s3:revoke_sessions",
        OPERATE,
        "Print an inline policy for `aws iam put-role-policy` that ends every session issued until now.",
        "s3 revoke-sessions",
    ),
    Command("config", "", OPERATE, "Check and list the settings of the processes."),
    Command(
        "config check",
        f"{_OPERATOR}.config:check",
        OPERATE,
        "Show the settings that PROCESS would use, with secrets hidden.",
        "config check bridge --env-file bridge.env",
    ),
    Command(
        "config example",
        f"{_OPERATOR}.config:example",
        OPERATE,
        "Print the contents of `.env.example`, `.env.production` and so on: every variable of every process.",
        "config example",
    ),
    Command("keys", "", OPERATE, "Make the keys of a deployment."),
    Command(
        "keys init",
        f"{_OPERATOR}.keys:init",
        OPERATE,
        "Make every key and password of a deployment: one file of variables per process, and files "
        "for nats-server, PostgreSQL, Valkey and Grafana.",
        "keys init --folder keys",
    ),
    Command(
        "epoch preview",
        f"{_OPERATOR}.preview:show_preview",
        OPERATE,
        "Show what the next epoch assigns.",
        "epoch preview --env-file schedulers.env",
    ),
    Command(
        "epoch publish",
        f"{_OPERATOR}.publish:publish_running",
        OPERATE,
        "Publish the running epoch while no scheduler runs.",
        "epoch publish --env-file settings.env --env-file schedulers.env",
    ),
    # The next two commands are also under `admin`. They are here too, because operators look for them under
    # `epoch`.
    Command(
        "epoch regenerate",
        f"{_OPERATOR}.admin:regenerate",
        OPERATE,
        "Select and sign an epoch again; always refused, because a drawn epoch is sealed.",
        "epoch regenerate 2026-11-22T04-00-00",
    ),
    Command(
        "epoch override-target",
        f"{_OPERATOR}.admin:override",
        OPERATE,
        "Set another target for one epoch whose inputs are not committed yet.",
        "epoch override-target 2026-11-22T08-00-00 8000",
    ),
    Command("admin", "", OPERATE, "Control the service as one of its ADMIN_HOTKEYS."),
    Command("admin epoch", "", OPERATE, "Prepare or sign epochs by hand."),
    Command(
        "admin epoch generate",
        f"{_OPERATOR}.admin:generate",
        OPERATE,
        "Prepare the running epoch now if it is missing, otherwise the next one.",
        "admin epoch generate",
    ),
    Command(
        "admin epoch regenerate",
        f"{_OPERATOR}.admin:regenerate",
        OPERATE,
        "Select and sign an epoch again; always refused, because a drawn epoch is sealed.",
        "admin epoch regenerate 2026-11-22T04-00-00",
    ),
    Command("admin target", "", OPERATE, "Change how many listings an epoch assigns."),
    Command(
        "admin target override",
        f"{_OPERATOR}.admin:override",
        OPERATE,
        "Set another target for one epoch whose inputs are not committed yet.",
        "admin target override 2026-11-22T08-00-00 8000",
    ),
    Command(
        "admin connections",
        f"{_OPERATOR}.admin:connections",
        OPERATE,
        "List connections to NATS, oldest first, at most 500 at a time.",
        "admin connections",
    ),
    Command(
        "admin kick",
        f"{_OPERATOR}.admin:kick",
        OPERATE,
        "Close all NATS connections of a hotkey.",
        f"admin kick {_HOTKEY}",
    ),
    Command(
        "admin commands",
        f"{_OPERATOR}.admin:commands",
        OPERATE,
        "List the newest commands of all admins, or show one command and its outcome.",
        "admin commands",
    ),
)
