"""Lists the commands of miners and validators."""

from zipcast.cli.command_groups import Command

SET_UP = "Set up"
EVERYONE = "Miners and validators"
VALIDATORS = "Validators"
HISTORY = "Check the service"

_CLI = "zipcast.cli"
COMMANDS = (
    Command("profile", "", SET_UP, "Choose the service that commands use, and the signers to trust."),
    Command(
        "profile add",
        f"{_CLI}.profile_commands:add",
        SET_UP,
        "Add a service, or update it.",
        "profile add https://bridge.example.org",
    ),
    Command(
        "profile use",
        f"{_CLI}.profile_commands:use",
        SET_UP,
        "Use a profile from now on, unless an option names another service.",
        "profile use bridge.example.org",
    ),
    Command(
        "profile list", f"{_CLI}.profile_commands:list_profiles", SET_UP, "List the profiles.", "profile list"
    ),
    Command(
        "profile remove",
        f"{_CLI}.profile_commands:remove",
        SET_UP,
        "Remove a profile.",
        "profile remove bridge.example.org",
    ),
    Command(
        "doctor",
        f"{_CLI}.doctor:doctor",
        SET_UP,
        "Check every step from this machine to an upload, and say what to do.",
        "doctor --wallet my-wallet --hotkey my-hotkey",
    ),
    Command(
        "status",
        f"{_CLI}.status:status",
        SET_UP,
        "Show the service and the hotkey that commands use, and the running epoch.",
        "status --json",
    ),
    Command(
        "watch",
        f"{_CLI}.client_commands:watch",
        EVERYONE,
        "Show the running epoch, then every later epoch as it starts.",
        "watch --wallet my-wallet --hotkey my-hotkey",
    ),
    Command(
        "current",
        f"{_CLI}.client_commands:current",
        EVERYONE,
        "Show the running epoch and its zipcodes.",
        "current --json",
    ),
    Command(
        "upload",
        f"{_CLI}.client_commands:upload",
        EVERYONE,
        "Upload files to this hotkey's folder for one epoch.",
        "upload listings.json",
    ),
    Command(
        "uploads",
        f"{_CLI}.client_commands:uploads",
        EVERYONE,
        "Show which of this hotkey's uploads count for an ended epoch.",
        "uploads 2026-11-22T04-00-00",
    ),
    Command(
        "curl",
        f"{_CLI}.status:curl",
        EVERYONE,
        "Print a signed curl command for a request to the bridge.",
        "curl current",
    ),
    Command(
        "download",
        f"{_CLI}.client_commands:download",
        VALIDATORS,
        "Download the miners' files that count for an epoch, with a validator's hotkey.",
        "download 2026-11-22T04-00-00 --to downloads",
    ),
    Command("results", "", VALIDATORS, "Submit and show validators' reports."),
    Command(
        "results submit",
        f"{_CLI}.results:submit",
        VALIDATORS,
        "Submit a validator's report on an ended epoch.",
        "results submit report.json --upload scores.json",
    ),
    Command(
        "results show",
        f"{_CLI}.results:results",
        VALIDATORS,
        "Show validators' reports on an epoch, their consensus, and signals about miners.",
        "results show 2026-11-22T04-00-00",
    ),
    Command("epoch", "", HISTORY, "Show, verify and export epochs that have ended; show the next one."),
    Command(
        "epoch list",
        f"{_CLI}.epochs:list_epochs",
        HISTORY,
        "List the newest epochs that have ended.",
        "epoch list --limit 5",
    ),
    Command(
        "epoch show",
        f"{_CLI}.epochs:show",
        HISTORY,
        "Show one ended epoch as JSON: the signed text, its SHA-256, its proof and its seed.",
        "epoch show 2026-11-22T04-00-00",
    ),
    Command(
        "epoch verify",
        f"{_CLI}.epochs:verify_epochs_command",
        HISTORY,
        "Verify epochs.",
        "epoch verify --all --most 20",
    ),
    Command(
        "epoch export",
        f"{_CLI}.epochs:export_epochs_command",
        HISTORY,
        "Write epochs to a JSON file, from which they can be verified at any time.",
        "epoch export epochs.json --all",
    ),
    Command(
        "epoch next", f"{_CLI}.epochs:next_epoch", HISTORY, "Show when the next epoch starts.", "epoch next"
    ),
    Command(
        "epoch results",
        f"{_CLI}.results:results",
        HISTORY,
        "Show validators' reports on an epoch, their consensus, and signals about miners.",
        "epoch results 2026-11-22T04-00-00",
    ),
)
