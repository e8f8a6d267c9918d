"""`tests.rules` finds what breaks a rule, and nothing else."""

from pathlib import Path

from tests.rules import imports, rooms, shape
from tests.rules.__main__ import ROOT, findings
from tests.rules.sources import LIBRARY, PACKAGES, Source, Sources

_METHOD = "class Outer:\n    @property\n    def inner(self):\n"
_BREACHES = (
    ("sender/pipeline.py", "from receiver.metrics import ReceiverMetrics"),
    ("receiver/link/server.py", "def late() -> None:\n    import sender.capture"),
    ("common/codec/codec.py", "import receiver"),
    ("receiver/pipeline.py", "from bodywire import reconstruct"),
    ("deploy/bodywire/people.py", "from sender.train.crops import CropBatch"),
    ("common/nets/vit.py", "from tests.conftest import x"),
    ("sender/link/client.py", "from common.wire import semantic_link_pb2"),
    ("sender/link/client.py", "from common.wire.semantic_link_pb2_grpc import SemanticLinkStub"),
    ("receiver/link/server.py", "from google.protobuf import message"),
    ("sender/link/client.py", "from ...receiver import metrics"),
    ("sender/rate/rate.py", "print('rate')"),
    ("sender/rate/rate.py", "show = print"),
    ("common/codec/utils.py", ""),
    ("tests/support/helpers/table.py", ""),
    ("common/codec/codec.py", "from common.training.fit_codec import default_tables"),
    ("common/body/model.py", "def late() -> None:\n    from common.synthetic.motion import poses"),
    ("common/texture/atlas.py", "import moderngl"),
    ("sender/pipeline.py", "import common.synthetic.scene.scene"),
    ("sender/semantics/semantics_stage.py", "from sender.train.crops import CropBatch"),
    ("receiver/pipeline.py", "from common import training"),
    ("receiver/engine/reconstructor.py", "from receiver.publish.frame_record import FrameRecord"),
    ("receiver/mesh/glb.py", "from ..web import server"),
    ("receiver/texture/painting.py", "import receiver.report"),
    ("receiver/mesh/body_file.py", "from receiver.export.rigging import rig"),
    ("sender/congestion/pacing.py", "from sender.link.session import Fate"),
    ("sender/congestion/capacity.py", "from sender import rate"),
    ("sender/long.py", "x = 1\n" * (shape.MAX_FILE_LINES + 1)),
    (
        "sender/long.py",
        "class Outer:\n    @property\n    def inner(self):\n" + "        pass\n" * shape.MAX_FUNCTION_LINES,
    ),
)
_PERMITTED = (
    ("common/wire/convert.py", "from common.wire import semantic_link_pb2 as pb"),
    ("sender/pipeline.py", "from sender.metrics import SenderMetrics"),
    ("deploy/bodywire/both_ends.py", "import receiver.pipeline, sender.pipeline"),
    ("receiver/link/server.py", "from grpc_health.v1 import health_pb2"),
    ("sender/__main__.py", "print('done')"),
    ("sender/train/perception.py", "print('epoch')\nif __name__ == '__main__':\n    pass"),
    ("sender/train/crops.py", "from common.synthetic.render_shards import CropDataset"),
    ("sender/trainer.py", "from sender.training_free import x"),
    ("common/training/fit_codec.py", "from common.synthetic.motion.poses import PoseSampler"),
    ("common/synthetic/renderer.py", "import moderngl"),
    ("receiver/publish/writer.py", "from receiver.engine.reconstructor import LocalEngine"),
    ("sender/rate/controller.py", "from sender.congestion.capacity import Capacity"),
    ("sender/long.py", "x = 1\n" * shape.MAX_FILE_LINES),
    ("sender/long.py", _METHOD + "        pass\n" * (shape.MAX_FUNCTION_LINES - 1)),
)


def _source(path: str, text: str) -> Source:
    return Source(Path(path), text)


def _findings(path: str, text: str) -> list[str]:
    """Of a module alone, which nobody imports."""
    source = _source(path, text)
    is_product = source.module.partition(".")[0] in (*PACKAGES, LIBRARY.name)
    sources = Sources((source,), ()) if is_product else Sources((), (source,))
    return [message for message in findings(sources) if not message.startswith("no command")]


def test_every_breach_is_reported_once() -> None:
    for path, text in _BREACHES:
        assert len(_findings(path, text)) == 1, (path, text[:60])


def test_what_is_permitted_is_not_reported() -> None:
    for path, text in _PERMITTED:
        assert _findings(path, text) == [], (path, text[:60])


def test_circles_are_found_inside_functions_too() -> None:
    first = _source("common/a.py", "from common import b")
    second = _source("common/b.py", "def late():\n    from common.c.d import x")
    third = _source("common/c/d.py", "import common.a")
    assert set(imports.circle((first, second, third))) == {"common.a", "common.b", "common.c.d"}
    assert imports.circle((first, second)) == []


def test_a_package_and_its_module_may_be_a_circle() -> None:
    package, module = _source("common/c/__init__.py", "from common.c.d import x"), "common/c/d.py"
    assert imports.circle((package, _source(module, "from common.c import y"))) != []
    assert imports.circle((package, _source(module, "x = 1"))) == []


def test_unreachable_modules_are_found() -> None:
    sources = {
        "sender/__main__.py": "from sender import pipeline",
        "sender/__init__.py": "",
        "sender/pipeline.py": "from .capture.open import open_source",
        "sender/capture/__init__.py": "from sender.capture import source",
        "sender/capture/open.py": "",
        "sender/capture/source.py": "x = 1",
        "sender/capture/forgotten.py": "import sender.capture.source",
        "sender/train/wears.py": "from sender.perception import loss",
        "sender/perception/loss.py": "x = 1",
    }
    found = imports.unreachable([_source(path, text) for path, text in sources.items()])
    assert found == ["sender/capture/forgotten.py"]


def test_sources_of_this_checkout_are_found() -> None:
    sources = Sources.read(ROOT)
    packages = {source.module.partition(".")[0] for source in sources.product}
    assert packages == {*PACKAGES, LIBRARY.name}
    assert any(source.path == Path("tests/rules/__main__.py") for source in sources.tests)


def test_rooms_of_this_checkout_are_as_large_as_they_may_be() -> None:
    sizes = rooms.measured(ROOT)
    assert list(rooms.breaches(sizes, rooms.limits(ROOT))) == []
    for room in ("sender/link", "files", "words", "receiver/web/page", "tests/unit"):
        (larger,) = rooms.breaches(sizes | {room: sizes[room] + 1}, rooms.limits(ROOT))
        assert f"{room} has {sizes[room] + 1}, and may have {sizes[room]}" in larger
        (smaller,) = rooms.breaches(sizes | {room: sizes[room] - 1}, rooms.limits(ROOT))
        assert "--lower" in smaller
    assert len(list(rooms.breaches({"sender/new": 1}, {"sender/old": 1}))) == 2


def test_numbers_are_lowered_and_never_raised(tmp_path: Path) -> None:
    for name, text in (("sender/a/b.py", "x = 1\n" * 5), ("common/c.py", "x = 1\n"), ("README.md", "some words")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / rooms.SIZES).parent.mkdir(parents=True)
    (tmp_path / rooms.SIZES).write_text('# why\n"common" = 0\n"gone" = 9\n"sender/a" = 7\n"files" = 2\n"words" = 2\n')
    rooms.lower(tmp_path)
    assert (tmp_path / rooms.SIZES).read_text() == '# why\n"common" = 0\n"sender/a" = 5\n"files" = 2\n"words" = 2\n'
    assert [message.split()[0] for message in rooms.breaches(rooms.measured(tmp_path), rooms.limits(tmp_path))] == [
        "common"
    ]


def test_folders_of_small_files_are_found() -> None:
    sizes = {"sender/a/b.py": 79, "sender/a/c.py": 79, "sender/a/d.py": 300, "sender/e/f.py": 79, "sender/e/g.py": 80}
    alone = {"sender/h/i.py": 5, "sender/k.py": 5, "sender/l.py": 5, "sender/e/__init__.py": 0}
    (found,) = rooms.cupboards({Path(name): count for name, count in (sizes | alone).items()})
    assert found.startswith("sender/a:")
