"""Options are checked before anything starts; ports are kept for the next run."""

import json
import socket
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import pytest

from devstack.errors import InvalidOptionError, PortsTakenError, StateInUseError, StateUnusableError
from devstack.kept_part import Backoff
from devstack.options import StackOptions, parse_epoch_length, parse_settings
from devstack.ports import HOST, PAIR_OFFSET, Ports, chosen_ports, is_free
from devstack.state import State
from zipcast.client.local_stack import NotReadyError, Ready, ReadyObjectStore


@pytest.mark.parametrize(("text", "seconds"), [("20s", 20), ("2m", 120), ("4h", 14_400), ("60", 60)])
def test_epoch_lengths_are_read_with_their_unit(text, seconds):
    assert parse_epoch_length(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "-5s", "1.5m", "2d", " 60", "60 s", "٦٠"])
def test_anything_else_is_not_an_epoch_length(text):
    with pytest.raises(InvalidOptionError, match="--epoch-length"):
        parse_epoch_length(text)


@pytest.mark.parametrize("seconds", [0, 7, 86_401])
def test_an_epoch_length_divides_the_day(seconds):
    with pytest.raises(InvalidOptionError, match="divide a day into whole epochs, not"):
        StackOptions(epoch_seconds=seconds)


def test_a_missing_registry_file_is_named(tmp_path: Path):
    with pytest.raises(InvalidOptionError, match=r"--registry: .*absent\.json"):
        StackOptions(registry=tmp_path / "absent.json")


def test_settings_are_read_by_name_and_the_last_of_a_name_counts():
    texts = ["TARGET_LISTINGS=1", "STATE_PRIORITIES=PA=1,NJ=2", "TARGET_LISTINGS=5000", "OPS_TOKEN="]
    expected = {"TARGET_LISTINGS": "5000", "STATE_PRIORITIES": "PA=1,NJ=2", "OPS_TOKEN": ""}
    assert parse_settings(texts, set(expected)) == expected


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("TARGET_LISTINGS", "not NAME=VALUE"),
        ("TARGET=5", "no process reads 'TARGET'"),
        ("=5", "no process reads ''"),
    ],
)
def test_a_setting_that_no_process_reads_is_refused_by_name(text, says):
    with pytest.raises(InvalidOptionError, match=f"--set: .*{says}"):
        parse_settings([text], {"TARGET_LISTINGS"})


def choose(kept: Path, port_base: int | None = None) -> Ports:
    with chosen_ports(kept, port_base) as ports:
        return ports


def test_the_next_run_prefers_the_same_ports(tmp_path: Path):
    first = choose(tmp_path / "ports.json")
    assert choose(tmp_path / "ports.json") == first


def test_what_one_stack_has_chosen_another_does_not_although_no_server_listens_yet(tmp_path: Path):
    with chosen_ports(tmp_path / "ports.json") as first:
        (tmp_path / "other.json").write_text((tmp_path / "ports.json").read_text())
        with chosen_ports(tmp_path / "other.json") as second:
            assert set(asdict(first).values()).isdisjoint(asdict(second).values())
        with pytest.raises(PortsTakenError, match=str(first.nats)):
            choose(tmp_path / "probe.json", first.nats)
    assert choose(tmp_path / "ports.json") == first


def test_a_port_taken_meanwhile_is_chosen_anew_and_the_others_stay(tmp_path: Path):
    for number in range(50):
        kept = tmp_path / f"{number}.json"
        first = choose(kept)
        with socket.socket() as taken:
            taken.bind((HOST, first.s3 + PAIR_OFFSET))
            taken.listen()
            second = choose(kept)
        # Others on the machine take ports too: then this shows nothing.
        if all(is_free(port) for name, port in asdict(first).items() if name != "s3"):
            break
    assert second.s3 != first.s3
    assert asdict(second) | {"s3": 0} == asdict(first) | {"s3": 0}


@pytest.mark.parametrize("content", ["", "[]", '{"nats": "4222", "s3": 99999}'])
def test_a_damaged_file_of_ports_costs_only_the_preference(tmp_path: Path, content: str):
    kept = tmp_path / "ports.json"
    kept.write_text(content)
    assert json.loads(kept.read_text() or "{}") != asdict(choose(kept))


def free_base(tmp_path: Path) -> int:
    """Where as many free ports begin as are needed; others on the machine take ports too."""
    for number in range(50):
        base = choose(tmp_path / f"{number}.json").nats
        with suppress(PortsTakenError):
            return choose(tmp_path / "probe.json", base).nats
    raise AssertionError("no base is free")


def test_ports_from_a_base_are_consecutive(tmp_path: Path):
    base = free_base(tmp_path)
    ports = list(asdict(choose(tmp_path / "ports.json", base)).values())
    assert ports == list(range(base, base + len(ports)))


def test_a_taken_port_from_a_base_is_named(tmp_path: Path):
    base = free_base(tmp_path)
    with socket.socket() as taken:
        taken.bind((HOST, base + 2))
        taken.listen()
        with pytest.raises(PortsTakenError, match=str(base + 2)):
            choose(tmp_path / "ports.json", base)


@pytest.mark.parametrize("base", [0, -1, 55_530, 70_000])
def test_a_base_out_of_range_is_refused(tmp_path: Path, base: int):
    with pytest.raises(PortsTakenError, match="--port-base must be"):
        choose(tmp_path / "ports.json", base)


def test_backoff_doubles_to_its_limit_and_begins_anew_after_health():
    backoff = Backoff()
    assert [backoff.after(0) for _ in range(7)] == [0.5, 1, 2, 4, 8, 15, 15]
    assert backoff.after(Backoff.HEALTHY) == 0.5


def test_ready_is_read_as_it_was_written_and_by_its_owner_only(tmp_path: Path):
    store = ReadyObjectStore("http://127.0.0.1:1", "miners", "validators")
    ready = Ready(
        *("n", "m", "h", "p", store, "5F", 46, "local", "loopback", 60, "/wallets", {"nats": 1}),
        internal={"callout": "http://127.0.0.1:9103"},
    )
    ready.write(tmp_path / "ready.json")
    assert Ready.read(tmp_path / "ready.json") == ready
    assert (tmp_path / "ready.json").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["ready.json"]


def test_ready_of_another_version_is_read_as_far_as_it_is_known(tmp_path: Path):
    path = tmp_path / "ready.json"
    store = ReadyObjectStore("http://127.0.0.1:1", "miners", "validators")
    ready = Ready("n", "m", "h", "p", store, "5F", 46, "local", "loopback", 60, "/wallets", {"nats": 1})
    ready.write(path)
    written = json.loads(path.read_text())
    del written["internal"]
    path.write_text(json.dumps(written | {"later": 1}))
    assert Ready.read(path) == ready


@pytest.mark.parametrize("content", [None, "", "[]", "{}", '{"s3": 1}'])
def test_what_is_not_ready_says_so(tmp_path: Path, content: str | None):
    path = tmp_path / "ready.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(NotReadyError):
        Ready.read(path)


def test_a_file_where_a_folder_must_be_is_named(tmp_path: Path):
    (tmp_path / "nats").write_text("somebody's")
    with pytest.raises(StateUnusableError, match=r"--state: .*/nats: File exists"):
        State(tmp_path).create()


def test_servers_of_somebody_else_are_left_alone(tmp_path: Path):
    """A start would first stop the PostgreSQL that runs in that folder."""
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "postmaster.pid").write_text("1")
    with pytest.raises(StateUnusableError, match=r"--state: .*/postgres contains files"):
        State(tmp_path).create()
    assert [path.name for path in tmp_path.iterdir()] == ["postgres"]


def test_files_of_a_first_start_that_did_not_end_are_our_own(tmp_path: Path):
    state = State(tmp_path)
    state.create()
    state.ensure_keys()
    (state.postgres / "PG_VERSION").write_text("17")
    state.create()


def test_a_state_is_locked_once(tmp_path: Path):
    state = State(tmp_path)
    with state.lock(), pytest.raises(StateInUseError, match="in use by another"), state.lock():
        pass
    with state.lock():
        pass


def test_keys_are_made_once_and_whole(tmp_path: Path):
    state = State(tmp_path)
    state.create()
    state.ensure_keys()
    first = state.keys_of("callout")
    state.ensure_keys()
    assert state.keys_of("callout") == first
    (state.keys / "nats.env").unlink()  # as if the first run had died before the last file
    state.ensure_keys()
    assert state.keys_of("callout") != first


def test_a_network_that_does_not_exist_is_refused():
    with pytest.raises(InvalidOptionError, match="--network must be one of local, test, finney, not 'main'"):
        StackOptions(network="main")


def test_on_another_network_there_is_no_registry_file(tmp_path: Path):
    file = tmp_path / "registry.json"
    file.write_text("[]")
    with pytest.raises(InvalidOptionError, match="--registry: on --network test"):
        StackOptions(network="test", registry=file)
