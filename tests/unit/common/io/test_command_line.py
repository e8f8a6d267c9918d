from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import pytest

from common.errors import UsageError
from common.io.addresses import Address
from common.io.command_line import Program, option, parser_of, read_config


@dataclass(frozen=True, slots=True)
class LinkOptions:
    peer: Address = option(Address("127.0.0.1", 50051), help="where the receiver listens")
    listen: Address = option(Address("127.0.0.1", 50051), help="listen here")
    metrics: Address | None = option(None, help="serve metrics here")
    window: int = option(2, help="100 % of the frames under way")
    policy: Literal["capacity", "paper"] = option("capacity", help="what drives the rate")

    def __post_init__(self) -> None:
        if self.window < 1:
            raise ValueError(f"--window must be at least 1, not {self.window}")
        if self.window > 64:
            raise ValueError("--window must be at most 64")


@dataclass(frozen=True, slots=True)
class CameraOptions:
    focal_px: float | None = option(None, help="focal length")
    realtime: bool = option(False, help="keep a file's pace")
    out: Path = option(Path("out"), help="folder")
    from_: str = option("0", help="where a file begins")
    size: tuple[int, ...] = option((7,), help="one or more", formerly="extent")
    gain: float = option(1.0, help="seldom given", advanced=True)

    def __post_init__(self) -> None:
        if self.focal_px == 0:
            raise ValueError("focal_px must be above 0")


@dataclass(frozen=True, slots=True)
class StudyOptions:
    """For studies."""

    noisy: bool = option(False, help="seldom switched", advanced=True)


@dataclass(frozen=True, slots=True)
class Options:
    """Sends a person."""

    camera: CameraOptions
    link: LinkOptions
    study: StudyOptions


PROGRAM = Program("sender", "Sends a person.", [("sender --peer a:1", "to a")])


OUT = Path("out").absolute()


def read(*flags: str, environment: dict[str, str] | None = None) -> Options:
    return read_config(Options, PROGRAM, flags, environment or {})


def test_flags_parse_to_their_types() -> None:
    assert read() == Options(CameraOptions(out=OUT), LinkOptions(), StudyOptions())
    assert read(environment={"BODYWIRE_RECEIVER_LISTEN": "x", "PATH": "/bin"}) == read(), "of other programs"
    options = read(
        *("--peer", "[::1]:7", "--metrics", "localhost:9100", "--window", "3", "--policy", "paper"),
        *("--focal-px", "900", "--realtime", "--out", "there"),
    )
    expected = LinkOptions(Address("::1", 7), metrics=Address("localhost", 9100), window=3, policy="paper")
    assert options.link == expected
    assert options.camera == CameraOptions(900.0, True, Path("there").absolute()), (
        "no working directory makes another path of it"
    )


def test_flags_over_environment_over_file_over_default(tmp_path: Path) -> None:
    file = tmp_path / "sender.toml"
    file.write_text('[link]\nwindow = 3\npolicy = "paper"\npeer = "a:1"\n[camera]\nfocal_px = 800\nrealtime = true\n')
    environment = {"BODYWIRE_SENDER_CONFIG": str(file), "BODYWIRE_SENDER_WINDOW": "4", "BODYWIRE_SENDER_PEER": "b:2"}
    options = read("--peer", "c:3", environment=environment)
    assert options.link == LinkOptions(peer=Address("c", 3), window=4, policy="paper")
    assert options.camera == CameraOptions(focal_px=800.0, realtime=True, out=OUT)
    assert not read("--no-realtime", environment=environment).camera.realtime


def test_option_that_repeats_has_all_values_of_the_uppermost_place(tmp_path: Path) -> None:
    file = tmp_path / "sender.toml"
    file.write_text("[camera]\nsize = [1, 2]\n")
    environment = {"BODYWIRE_SENDER_CONFIG": str(file)}
    assert read().camera.size == (7,)
    assert read(environment=environment).camera.size == (1, 2)
    assert read(environment={**environment, "BODYWIRE_SENDER_SIZE": "3\n4"}).camera.size == (3, 4)
    assert read("--size", "5", "--size=6", environment=environment).camera.size == (5, 6)
    bare = replace(PROGRAM, bare="size")
    assert read_config(Options, bare, ("5",), {}).camera.size == (5,)
    with pytest.raises(UsageError, match="5 and --size 6: give one of them"):
        read_config(Options, bare, ("5", "--size", "6"), {})


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--size=--"], "--size: expected one argument"),
        (["--size", "1", "--size", "two"], "--size: 'two' is not a whole number"),
        (["--bandwidth", "1"], "unrecognized arguments: --bandwidth 1; see sender --help"),
        (["--window"], "expected one argument"),
        (["--window", "two"], "--window: 'two' is not a whole number"),
        (["--window", "9" * 400], "--window must be at most 64"),
        (["--window", "0"], "--window must be at least 1, not 0; see sender --help"),
        (["--focal-px", "0"], "[camera] focal_px must be above 0; see sender --help"),
        (["--focal-px", "wide"], "--focal-px: 'wide' is not a number"),
        (["--focal-px", "inf"], "--focal-px: 'inf' is not finite"),
        (["--focal-px=--"], "--focal-px: expected one argument"),
        (["--policy", "best"], "--policy: 'best' is none of capacity, paper"),
        (["--peer", "50051"], "--peer: '50051' is not host:port"),
        (["--peer", "nowhere:x"], "--peer: 'nowhere:x' is not host:port"),
        (["--peer", "a:1,b:2"], "--peer: 'a:1,b:2': give one address, such as 127.0.0.1:50051"),
        (["--peer"], "--peer: expected one argument"),
        (["--metrics", "nowhere"], "--metrics: 'nowhere' is not host:port"),
        (["--focal-px", "nan"], "--focal-px: 'nan' is not finite"),
        (["--wind", "3"], "unrecognized arguments"),
        (["--config", "/nonexistent.toml"], "cannot read the configuration file /nonexistent.toml"),
    ],
)
def test_wrong_flag_is_one_line(flags: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(*flags)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_wrong_environment_is_named() -> None:
    for name, value, message in (
        ("WINDOW", "x", "BODYWIRE_SENDER_WINDOW: 'x' is not a whole number"),
        ("REALTIME", "maybe", "BODYWIRE_SENDER_REALTIME: 'maybe' is none of"),
        ("WINDWO", "2", "unknown environment variable BODYWIRE_SENDER_WINDWO$"),
        ("EXTENT", "2", r"unknown environment variable BODYWIRE_SENDER_EXTENT \(did you mean --size\?\)"),
    ):
        with pytest.raises(UsageError, match=message):
            read(environment={f"BODYWIRE_SENDER_{name}": value})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[link]\nwindow = 'x'", r"\[link\] window: 'x' is not a whole number"),
        ("[link]\nwindow = true", r"\[link\] window: 'True' is not a whole number"),
        ("[link]\nwindow = 2.5", r"\[link\] window: '2.5' is not a whole number"),
        ("[camera]\nrealtime = [1]", r"\[camera\] realtime: '\[1\]' is none of"),
        ("[link]\npeer = 5", r"\[link\] peer: '5' is not host:port"),
        ("[camera]\nfocal_px = nan", r"\[camera\] focal_px: 'nan' is not finite"),
        ('[camera]\nout = "a\\u0000b"', r"\[camera\] out: .* has a NUL character"),
        ("[link]\nwindwo = 3", r"unknown option \[link\] windwo$"),
        ("[camera]\nextent = 3", r"unknown option \[camera\] extent \(did you mean --size\?\)"),
        ("[camera]\nwindow = 3", r"unknown option \[camera\] window"),
        ("window = 3", r"unknown option \[window\] window"),
        ("window", "is not TOML"),
        ("\udcff", "not UTF-8"),
        ("a = " + "[" * 100_000, "is not TOML"),
        ("#" * 1_000_001, "has more than 1000000 bytes"),
    ],
)
def test_wrong_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "sender.toml"
    file.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(UsageError, match=message):
        read("--config", str(file))


def test_help_shows_flags_and_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        read("--help")
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    assert shown.startswith("Sends a person.\n")
    assert shown.endswith("examples:\n  sender --peer a:1\n      to a\n\nsender --help-all has all options.\n")
    for expected in ("--peer HOST:PORT", "--listen HOST:PORT", "127.0.0.1:50051", "{capacity,paper}"):
        assert expected in shown
    for expected in ("(default: off)", "--no-realtime", "100 % of"):
        assert expected in shown


def test_only_the_whole_help_has_advanced_options(capsys: pytest.CaptureFixture[str]) -> None:
    advanced = ("--gain", "--no-noisy", "study:", "For studies.")
    for flag, expected in (("--help", []), ("--help-all", [*advanced])):
        with pytest.raises(SystemExit) as caught:
            read(flag)
        shown = capsys.readouterr().out
        assert caught.value.code == 0 and "--peer HOST:PORT" in shown
        assert [text for text in advanced if text in shown] == expected
    assert read("--gain", "2", "--noisy").study.noisy
    with pytest.raises(UsageError, match=r"did you mean --gain\?"):
        read("--gian", "2")


def test_argument_without_a_flag_sets_the_option_that_the_program_names() -> None:
    program = replace(PROGRAM, bare="out")
    for given in (["there"], ["there", "--window", "3"], ["--window", "3", "there"]):
        assert read_config(Options, program, given, {}).camera.out == Path("there").absolute()
    assert read_config(Options, program, ("--window", "3"), {}).camera.out == OUT
    for flags, message in (
        (("there", "--out", "x"), "there and --out x: give one of them"),
        (("a", "b"), "unrecognized arguments: b; see"),
    ):
        with pytest.raises(UsageError, match=message):
            read_config(Options, program, flags, {})
    with pytest.raises(UsageError, match="unrecognized arguments: there; see"):
        read("there")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--windwo", "3"), r"unrecognized arguments: --windwo 3 \(did you mean --window\?\); see sender --help"),
        (("--focalpx=900",), r"--focalpx=900 \(did you mean --focal-px\?\)"),
        (("--no-extent",), r"--no-extent \(did you mean --size\?\)"),
        (("--bogus",), r"unrecognized arguments: --bogus; see sender --help"),
    ],
)
def test_flag_that_was_meant_is_named(flags: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read(*flags)


DOCUMENT = """Trains something.

Details.

Examples:
  python -m x --steps 3
"""


def test_help_has_the_description_and_ends_with_the_examples() -> None:
    text = parser_of("python -m x", DOCUMENT).format_help()
    assert text.index("Trains something.\n\nDetails.") < text.index("options:")
    assert text.endswith("examples:\n  python -m x --steps 3\n")
