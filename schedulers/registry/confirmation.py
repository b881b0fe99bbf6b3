"""Decides which parts of a reading are believed at once, and which only when a second reading agrees.

No clock, no I/O. One reading comes from one node, which may lie, lag or be cut short. Believed wrongly it
would lock honest hotkeys out or make a stranger a validator.
"""

from dataclasses import dataclass

from zipcast.protocol.messages.registry import RegisteredNeuron

Neurons = tuple[RegisteredNeuron, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The decision: `neurons` is the list to publish, None if the published one stays in force. The others
    count hotkeys that wait for a second reading: to be dropped, to become validators, to lose that
    standing."""

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
    """Decide about a reading. `published` is in force, None before the first time; `previous` is the reading
    before this one.

    A hotkey is gone once two readings lack it. If more than `max_drop_percent` of those published are gone by
    this reading alone, nothing of it is published. The same holds if more than one validator, and more than
    that part of them, lose permit or most of their stake by it alone. A permit counts once two readings show
    it, or a reading and the published list; until then its neuron is published without."""
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
    """Those published that only this reading lacks."""
    gone = _hotkeys(published) - _hotkeys(read)
    return gone if previous is None else gone & _hotkeys(previous)


def _weakened(published: Neurons, read: Neurons) -> set[str]:
    """The permitted of those published that have no permit, or less than half of their stake, in `read`."""
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
