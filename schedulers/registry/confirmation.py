"""Decides which parts of a reading are accepted at once, and which only when a second reading agrees.

No clock, no I/O. A reading comes from one node, which may lie, lag, or send incomplete data. A wrong reading
could lock out honest hotkeys, or make an unknown hotkey a validator.
"""

from dataclasses import dataclass

from zipcast.protocol.messages.registry import RegisteredNeuron

Neurons = tuple[RegisteredNeuron, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The decision. `neurons` is the list to publish, or None to keep the published one. The other fields
    count the hotkeys that need a second reading before they are removed, become validators, or cease to be
    validators."""

    neurons: Neurons | None
    departures: int = 0
    permits: int = 0
    losses: int = 0

    @property
    def is_final(self) -> bool:
        return self.departures == self.permits == self.losses == 0


def judge(
    published: Neurons | None, previous: Neurons | None, read: Neurons, max_drop_percent: int
) -> Verdict:
    """Decide about a reading. `published` is the published list, or None the first time. `previous` is the
    previous reading.

    A hotkey is removed when two readings lack it. If this reading alone lacks more than `max_drop_percent` of
    the published hotkeys, none of it is published. The same applies if, by this reading alone, more than one
    validator and more than that share of validators lose their permit or most of their stake. A permit is
    accepted when two readings contain it, or one reading and the published list. Until then, the neuron is
    published without it."""
    departures = _departures(published or (), previous, read)
    if len(departures) * 100 > max_drop_percent * len(published or ()):
        return Verdict(None, departures=len(departures))
    losses = _weakened(published or (), read) - (_weakened(published or (), previous) if previous else set())
    if len(losses) > 1 and len(losses) * 100 > max_drop_percent * len(_permitted(published or ())):
        return Verdict(None, losses=len(losses))
    confirmed = _permitted(published or ()) | _permitted(previous or ())
    new = _permitted(read) - confirmed
    return Verdict(tuple(_without_permit(n) if n.hotkey in new else n for n in read), permits=len(new))


def _departures(published: Neurons, previous: Neurons | None, read: Neurons) -> set[str]:
    """Return the published hotkeys that only this reading lacks."""
    gone = _hotkeys(published) - _hotkeys(read)
    return gone if previous is None else gone & _hotkeys(previous)


def _weakened(published: Neurons, read: Neurons) -> set[str]:
    """Return the published hotkeys with a permit that have no permit or less than half of their stake in
    `read`."""
    now = {neuron.hotkey: neuron for neuron in read}
    return {
        before.hotkey
        for before in published
        if before.validator_permit
        and (after := now.get(before.hotkey)) is not None
        and (not after.validator_permit or after.alpha_stake_rao * 2 < before.alpha_stake_rao)
    }


def _hotkeys(neurons: Neurons) -> set[str]:
    return {neuron.hotkey for neuron in neurons}


def _permitted(neurons: Neurons) -> set[str]:
    return {neuron.hotkey for neuron in neurons if neuron.validator_permit}


def _without_permit(neuron: RegisteredNeuron) -> RegisteredNeuron:
    return neuron.model_copy(update={"validator_permit": False})
