"""After failures of the network, no frame is lost or shown twice."""

from receiver.link.session import Session
from sender.link.session import Fate
from tests.support.link.counting_codec import label_frame, until
from tests.support.link.link_fixture import LinkFixture, send_all
from tests.support.link.recording_pipeline import RecordingPipeline


async def test_live_sender_resumes_with_the_newest_frame_after_an_outage(link: LinkFixture) -> None:
    pipeline = RecordingPipeline()
    _, client, observer = await link.connected(pipeline, live=True)
    await send_all(client, 0, 1)
    await pipeline.until_decoded(0)
    link.path.strand()
    await send_all(client, 1, 60)
    await until(lambda: bool(observer.losses))
    await send_all(client, 60, 100)
    link.path.restore()
    await client.drain()
    # Frames in flight are lost with the network; frames captured during the outage are stale.
    assert pipeline.decoded == [0, 99]
    assert observer.fates[-1] == (99, Fate.ACKNOWLEDGED)


async def test_sender_resumes_from_another_address(link: LinkFixture) -> None:
    pipeline = RecordingPipeline()
    server, client, observer = await link.connected(pipeline)
    await send_all(client, 0, 20)
    link.path.host = "192.0.2.9"
    link.path.strand()
    link.path.restore()
    await send_all(client, 20, 40)
    await client.drain()
    assert len(observer.losses) == 1
    assert pipeline.decoded == list(range(40))
    assert (pipeline.opened, len(server.sessions)) == (1, 0)


class _SessionPipeline(RecordingPipeline):
    async def on_session(self, session: Session) -> int:
        self.session = session
        return await super().on_session(session)


async def test_stream_of_a_vanished_sender_ends_and_its_session_is_kept(link: LinkFixture) -> None:
    pipeline = _SessionPipeline()
    server, client, _ = await link.connected(pipeline)
    await client.send(label_frame(0))
    await pipeline.until_decoded(0)
    assert pipeline.session.in_use
    link.path.strand()
    await client.close()
    await until(lambda: not pipeline.session.in_use)
    assert len(server.sessions) == 1
