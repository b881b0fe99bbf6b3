"""Tests `zipcast simulate`, which applies the rules of selection over simulated time."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from typer.testing import CliRunner

from devstack.simulation_plot import draw
from zipcast.cli.app import app
from zipcast.protocol.calendar import EpochCalendar, parse_epoch_id
from zipcast.selection.honeypots import HoneypotSettings
from zipcast.selection.model import Candidate, MarketTier, SelectionSettings
from zipcast.selection.simulation import coverage_by_day, simulate, summarise

START_AT = datetime(2026, 1, 1, 1, tzinfo=UTC)
CALENDAR = EpochCalendar(14_400)
SETTINGS = SelectionSettings(target_listings=2000, tolerance_percent=10)


def pool(count: int = 120) -> list[Candidate]:
    return [
        Candidate(
            zipcode=f"{19000 + number}",
            state=("PA", "NJ")[number % 2],
            city="Springfield",
            county="Example",
            market_tier=tuple(MarketTier)[number % 3],
            geographic_region="Northeast",
            expected_listings=200 + number,
            population=1000 * number,
            base_weight=1.0,
            last_scraped_at=datetime(2020, 1, 1, tzinfo=UTC),  # data never becomes too old here
            last_assigned_at=None,
        )
        for number in range(count)
    ]


def run(seed: int = 1, epochs: int = 60, count: int = 120) -> Iterator:
    return simulate(pool(count), SETTINGS, CALENDAR, start_at=START_AT, epochs=epochs, seed=seed)


def test_the_same_number_gives_the_same_run_and_another_another() -> None:
    assert list(run()) == list(run())
    assert list(run()) != list(run(seed=2))


def test_epochs_follow_one_another_from_the_first_boundary() -> None:
    starts = [parse_epoch_id(epoch.epoch_id) for epoch in run()]
    assert starts[0] == datetime(2026, 1, 1, 4, tzinfo=UTC)
    assert {later - earlier for earlier, later in pairwise(starts)} == {timedelta(hours=4)}


def test_a_zipcode_rests_for_its_cooldown() -> None:
    last: dict[str, datetime] = {}
    for epoch in run():
        start = parse_epoch_id(epoch.epoch_id)
        assert epoch.relaxed == 0
        for zipcode in epoch.zipcodes:
            assert start - last.get(zipcode, datetime.min.replace(tzinfo=UTC)) >= SETTINGS.cooldown
            last[zipcode] = start


def test_the_summary_counts_what_the_epochs_say() -> None:
    epochs = list(run())
    summary = summarise(epochs, SETTINGS, 120)
    assert (summary.epochs, summary.within_tolerance, summary.infeasible) == (60, 60, 0)
    assert summary.mean_total == sum(epoch.total_listings for epoch in epochs) / 60
    assert sum(summary.shares_by_state.values()) == pytest.approx(1)
    assert summary.coverage == len({zipcode for epoch in epochs for zipcode in epoch.zipcodes}) / 120


def test_a_pool_that_cannot_do_it_is_said_to_be_so() -> None:
    epochs = list(run(count=5))
    assert [epoch.total_listings for epoch in epochs] == [None] * 60
    assert summarise(epochs, SETTINGS, 5).infeasible == 60


def test_the_command_prints_json_alone_and_draws_a_picture(tmp_path: Path) -> None:
    picture = tmp_path / "totals.png"
    shown = CliRunner().invoke(app, ["simulate", "--epochs", "12", "--json", "--plot", str(picture)])
    assert shown.exit_code == 0, shown.output
    told = json.loads(shown.stdout)
    assert list(told) == ["epochs"]
    assert len(told["epochs"]) == 12
    assert all(9000 <= epoch["totalExpectedListings"] <= 11_000 for epoch in told["epochs"])
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_report_is_for_people():
    shown = CliRunner().invoke(app, ["simulate", "--epochs", "12"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0, shown.output
    for words in ("9000 to 11000", "12 of 12", "30 days", "PREMIUM"):
        assert words in shown.stdout


def test_a_page_needs_nothing_but_itself(tmp_path: Path):
    page = tmp_path / "totals.html"
    draw(page, list(run()), SETTINGS, 120, [("a <b>", "60 of 60")])
    text = page.read_text()
    assert "<th>a &lt;b&gt;</th><td>60 of 60</td>" in text
    assert text.count("<svg") == text.count("</svg>") == 1
    assert not re.search(r"<script|<link|<img|@import|url\((?!#)|(src|href)=.(?!#)", text)


def test_coverage_grows_day_by_day():
    shares = coverage_by_day(run(epochs=30), 120)  # five on the first day, which began at 04:00
    assert len(shares) == 6
    assert shares == sorted(shares)
    assert shares[-1] == len({zipcode for epoch in run(epochs=30) for zipcode in epoch.zipcodes}) / 120


def test_another_file_and_another_target(tmp_path: Path) -> None:
    rows = "".join(f"{19000 + n},PA,{200 + n}\n" for n in range(40))
    file = tmp_path / "zipcodes.csv"
    file.write_text("zipcode,state,recently_sold_listings\n" + rows)
    arguments = ["simulate", "--epochs", "4", "--zipcodes", str(file)]
    assert CliRunner().invoke(app, [*arguments, "--set", "TARGET_LISTINGS=1000"]).exit_code == 0
    infeasible = CliRunner().invoke(app, [*arguments, "--set", "TARGET_LISTINGS=100000"])
    assert infeasible.exit_code == 1
    assert "infeasible" in infeasible.output


def small_ones() -> list[Candidate]:
    return [
        replace(one, zipcode=f"{90000 + number}", expected_listings=number % 50)
        for number, one in enumerate(pool())
    ]


def test_honeypots_are_simulated_as_they_are_chosen() -> None:
    honeypots = HoneypotSettings(probability=0.5)
    candidates = [*pool(), *small_ones()]
    settings = replace(SETTINGS, tolerance_percent=30)
    epochs = list(
        simulate(candidates, settings, CALENDAR, start_at=START_AT, epochs=200, seed=1, honeypots=honeypots)
    )
    summary = summarise(epochs, settings, 120)
    assert summary.within_tolerance == 200
    assert abs(summary.with_honeypots - 100) < 3.3 * (200 * 0.25) ** 0.5
    assert {one.zipcode for one in small_ones()} >= {
        one.zipcode for epoch in epochs for one in epoch.honeypots
    }
    for epoch in epochs:
        assert len(epoch.honeypots) <= 2
        assert {one.zipcode for one in epoch.honeypots} <= set(epoch.zipcodes)
        assert (epoch.true_total < epoch.total_listings) is bool(epoch.honeypots)
    drawn = {one.zipcode for one in pool()}
    assigned = [zipcode for epoch in epochs for zipcode in epoch.zipcodes if zipcode in drawn]
    assert summary.coverage == coverage_by_day(epochs, 120)[-1] == len(set(assigned)) / 120
    assert summary.mean_repeats == pytest.approx(len(assigned) / len(set(assigned)))


def test_an_import_replaces_the_zipcodes_from_its_instant_on() -> None:
    again = START_AT + timedelta(days=2)
    grown = [replace(one, expected_listings=one.expected_listings + 1000) for one in pool()]
    epochs = list(
        simulate(pool(), SETTINGS, CALENDAR, start_at=START_AT, epochs=30, seed=1, imports={again: grown})
    )
    counts = [len(epoch.zipcodes) for epoch in epochs]
    starts = [parse_epoch_id(epoch.epoch_id) for epoch in epochs]
    before = [count for count, start in zip(counts, starts, strict=True) if start < again]
    after = [count for count, start in zip(counts, starts, strict=True) if start >= again]
    assert min(before) > max(after)


def simulated(*arguments: str) -> list[dict]:
    shown = CliRunner().invoke(app, ["simulate", "--epochs", "8", "--json", *arguments])
    assert shown.exit_code == 0, shown.output
    return json.loads(shown.stdout)["epochs"]


def test_rules_come_from_a_file_of_settings_and_single_ones_from_the_command(tmp_path: Path) -> None:
    file = tmp_path / "operator.env"
    file.write_text("NATS_URL=nats://elsewhere\nTARGET_LISTINGS=8000\nSTATE_PRIORITIES=PA:1,NJ:1\n")
    from_file = simulated("--env-file", str(file))
    assert {state for epoch in from_file for state in epoch["states"]} == {"PA", "NJ"}
    assert all(7200 <= epoch["totalExpectedListings"] <= 8800 for epoch in from_file)
    both = simulated("--env-file", str(file), "--set", "STATE_PRIORITIES=NY:1")
    assert {state for epoch in both for state in epoch["states"]} == {"NY"}


def test_the_environment_changes_nothing_of_a_simulation(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = simulated()
    monkeypatch.setenv("TARGET_LISTINGS", "5000")
    assert simulated() == usual


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ("TARGET_LISTING=1", "one of TARGET_LISTINGS"),
        ("TARGET_LISTINGS=many", "TARGET_LISTINGS: Input should be a valid integer"),
        ("TARGET_LISTINGS", "TARGET_LISTINGS: "),
        ("HONEYPOT_THRESHOLD=300", "HONEYPOT_THRESHOLD must be below MIN_ZIPCODE_LISTINGS"),
        ("STATE_PRIORITIES=PA:1,PA:2", "STATE_PRIORITIES must name each state once"),
    ],
)
def test_a_rule_that_is_none_is_refused_by_name(change: str, complaint: str) -> None:
    refused = CliRunner().invoke(app, ["simulate", "--set", change], env={"COLUMNS": "400"})
    assert refused.exit_code == 1
    assert complaint in refused.output
