"""Defines the settings of selection and honeypots. They are a part of the scheduler's settings, and all
settings of `zipcast simulate`."""

import json
from datetime import timedelta
from typing import Literal, Self

from pydantic import BaseModel, Field, field_validator, model_validator

from zipcast.protocol.calendar import scaled
from zipcast.selection.honeypots import HoneypotSettings
from zipcast.selection.model import MAX_TARGET_LISTINGS, MarketTier, SelectionSettings


class RuleSettings(BaseModel):
    """The settings of selection and honeypots. The class itself does not read the environment. In a list of
    base classes it must come first; then the class that follows it determines how settings are read."""

    target_listings: int = Field(
        default=10_000,
        ge=1,
        le=MAX_TARGET_LISTINGS,
        description="target for the total listings of an epoch; 5,000 to 15,000 are reasonable",
    )
    tolerance_percent: int = Field(
        default=10,
        ge=0,
        le=50,
        description="largest allowed difference between total and target, in percent of the target",
    )
    cooldown_hours: int = Field(
        default=24,
        ge=0,
        le=24 * 30,
        description="how long an assigned zipcode is not assigned again; shorter if epochs are below 4 h",
    )
    min_zipcode_listings: int = Field(
        default=200, ge=2, le=1_000_000, description="minimum listings of an assigned zipcode"
    )
    max_zipcode_listings: int = Field(
        default=3_000,
        ge=2,
        le=1_000_000,
        description="maximum listings of an assigned zipcode. With honeypots, larger zipcodes than the "
        "width of the tolerance minus MIN_ZIPCODE_LISTINGS (1,800 by default) are assigned only if nothing "
        "else fits",
    )
    max_data_age_days: int = Field(
        default=30,
        ge=1,
        le=365,
        description="zipcodes with older data are not assigned, unless the others cannot fill an epoch; "
        "then the limit is relaxed by whole days",
    )
    state_priorities: str = Field(
        default="PA:1,NJ:2,NY:3,DE:4,MD:5",
        pattern=r"^[A-Z]{2}:[1-9][0-9]{0,2}(,[A-Z]{2}:[1-9][0-9]{0,2})*$",
        description="states to draw from, with priorities from 1 to 999; a state's share of the zipcodes is "
        "proportional to 1 / priority, whatever its size",
    )
    state_priority_mode: Literal["shares", "strict"] = Field(
        default="shares",
        description="shares: every state gets its share; strict: a state is used only after those with "
        "smaller numbers are exhausted",
    )
    geographic_regions: str | None = Field(
        default=None,
        pattern=r"^[A-Z]{2}(,[A-Z]{2})*$",
        description="draw only from these states of STATE_PRIORITIES; empty: from all of them",
    )
    premium_weight: float = Field(default=1.5, ge=1e-6, le=100, description="weight of PREMIUM zipcodes")
    standard_weight: float = Field(default=1.0, ge=1e-6, le=100, description="weight of STANDARD zipcodes")
    emerging_weight: float = Field(default=0.8, ge=1e-6, le=100, description="weight of EMERGING zipcodes")
    selection_randomness: float = Field(
        default=0.25,
        ge=0,
        le=1,
        description="0: draw by weight only; 1: draw all zipcodes with equal chances",
    )
    geographic_spread_factor: float = Field(
        default=0.15, ge=0, le=1, description="0: shares of states by priority only; 1: equal shares"
    )

    honeypot_probability: float = Field(
        default=0.3,
        ge=0,
        le=1,
        description="probability that an epoch has a honeypot; 0: never; a change takes full effect at the "
        "next import",
    )
    honeypot_threshold: int = Field(
        default=50,
        ge=1,
        description="honeypots have fewer real listings than this; must be below MIN_ZIPCODE_LISTINGS",
    )

    @field_validator("geographic_regions", mode="before")
    @classmethod
    def _as_listed(cls, value: object) -> object:
        """Also accept `["PA","NJ"]`, the form in which other services write lists."""
        if not isinstance(value, str) or not value.startswith("["):
            return value
        try:
            regions = json.loads(value)
        except ValueError:
            return value
        listed = isinstance(regions, list) and all(isinstance(region, str) for region in regions)
        return ",".join(regions) if listed else value

    @model_validator(mode="after")
    def _check_rules(self) -> Self:
        if self.min_zipcode_listings > self.max_zipcode_listings:
            raise ValueError("MIN_ZIPCODE_LISTINGS must not exceed MAX_ZIPCODE_LISTINGS")
        if self.honeypot_probability > 0 and self.honeypot_threshold >= self.min_zipcode_listings:
            raise ValueError("HONEYPOT_THRESHOLD must be below MIN_ZIPCODE_LISTINGS")
        states = [state for state, _ in self._priorities()]
        if len(set(states)) < len(states):
            raise ValueError("STATE_PRIORITIES must name each state once")
        if not set(states).issuperset(self._regions()):
            raise ValueError("GEOGRAPHIC_REGIONS must name only states of STATE_PRIORITIES")
        return self

    def _priorities(self) -> list[tuple[str, int]]:
        pairs = (pair.split(":") for pair in self.state_priorities.split(","))
        return [(state, int(priority)) for state, priority in pairs]

    def _regions(self) -> list[str]:
        return self.geographic_regions.split(",") if self.geographic_regions else []

    def selection_rules(self, epoch_seconds: int) -> SelectionSettings:
        """Return the rules of selection, with a shorter cooldown if epochs are shorter than four hours."""
        regions = self._regions()
        drawn = tuple(pair for pair in self._priorities() if not regions or pair[0] in regions)
        return SelectionSettings(
            target_listings=self.target_listings,
            tolerance_percent=self.tolerance_percent,
            min_zipcode_listings=self.min_zipcode_listings,
            max_zipcode_listings=self.max_zipcode_listings,
            cooldown=scaled(timedelta(hours=self.cooldown_hours), epoch_seconds),
            max_data_age=timedelta(days=self.max_data_age_days),
            state_priorities=drawn,
            tier_weights=(
                (MarketTier.PREMIUM, self.premium_weight),
                (MarketTier.STANDARD, self.standard_weight),
                (MarketTier.EMERGING, self.emerging_weight),
            ),
            selection_randomness=self.selection_randomness,
            geographic_spread_factor=self.geographic_spread_factor,
            strict_priorities=self.state_priority_mode == "strict",
        )

    def honeypot_rules(self) -> HoneypotSettings:
        """Return the rules of honeypots."""
        return HoneypotSettings(self.honeypot_probability, self.honeypot_threshold)
