"""Tests three nats-servers as compose.cluster.yml describes them, with the loss of the leader of the
stream."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
import pytest_asyncio

from devstack.servers import Servers
from tests.support.rehearsal import EPOCH_SECONDS, LEADERS, Rehearsal, rehearsal, stream_info
from zipcast.client.client import ZipcastClient

pytestmark = pytest.mark.soak  # test_cluster_faults.py has other faults of the same cluster


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def stage(servers: Servers, tmp_path_factory) -> AsyncIterator[Rehearsal]:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cluster")
        patch.setenv("SSL_CERT_FILE", str(folder / "ca.pem"))
        async with rehearsal(folder, servers, ("nats", "nats-2", "nats-3")) as stage:
            yield stage


async def test_epochs_and_requests_go_on_without_the_leader_of_the_stream(stage: Rehearsal) -> None:
    info = await stream_info(stage)
    assert info["config"]["num_replicas"] == 3
    assert len(info["cluster"]["replicas"]) == 2
    leader = LEADERS[info["cluster"]["leader"]]
    starts = []
    async with ZipcastClient(stage.nats_urls, stage.miner, stage.trust) as client:
        async for received in client.epochs():
            starts.append(received.epoch.message.epoch_start)
            if len(starts) == 1:
                await stage.supervisor.take_down(leader)
            if len(starts) == 4:
                break
        grant = await client.miner_upload(received.epoch.message.epoch_id)
    assert grant.epoch_id == received.epoch.message.epoch_id
    length = timedelta(seconds=EPOCH_SECONDS)
    assert starts == [starts[0] + number * length for number in range(4)]
    await stage.supervisor.bring_up(leader)
    assert (await stream_info(stage))["config"]["num_replicas"] == 3
