"""The clothed surface of test people: made again from the outfit that a rendered data set stores."""

from common.arrays import FloatArray
from common.body.model import BodyModel, BodyOutput
from common.synthetic.assets.body_canvas import Canvas
from common.synthetic.assets.garment import PosedSkeleton
from common.synthetic.assets.wardrobe import Wardrobe
from common.synthetic.clothed.outfit_code import OutfitCode
from common.synthetic.clothed.shell import Shell, ShellMaker
from common.synthetic.renderer.renderer import Renderer
from common.synthetic.scene.scene import worn_figure


class ClothedTruth:
    """Makes the outer shells of posed people.

    Raises:
        RendererUnavailable: OpenGL is missing.
    """

    def __init__(self, body: BodyModel) -> None:
        canvas = Canvas.from_model(body)
        self._body, self._code = body, OutfitCode(Wardrobe.load(canvas))
        self._shells = ShellMaker(Renderer(canvas))

    def shell(self, posed: BodyOutput, row: int, shape: FloatArray, outfit: FloatArray) -> Shell:
        """The shell of one body of a batch, camera space, metres.

        Args:
            shape: (10,) its coefficients.
            outfit: its code (7, 167), see `outfit_code`.
        """
        rest = self._body.rest_joints_of(posed.vertices.new_tensor(shape)[None])[0].numpy()
        positions, rotations = (part[row].numpy() for part in (posed.joint_positions, posed.joint_rotations))
        skeleton = PosedSkeleton(shape, rest, positions, rotations)
        return self._shells.make(worn_figure(self._code.decode(outfit), posed.vertices[row].numpy(), skeleton))
