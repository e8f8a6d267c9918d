import subprocess
import sys


def test_configuration_loads_no_library_of_the_page() -> None:
    script = (
        "import sys; from receiver.composition import ReceiverConfig; ReceiverConfig(); "
        "print([name for name in ('fastapi', 'uvicorn') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr
