"""The body of a model as another file: with other clothes, colours or another build, as `receiver export` makes it, and
as USDZ for Apple's viewers."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from common.errors import UsageError
from receiver.export.character import Character
from receiver.export.editing import Edits
from receiver.export.formats.usd_scene import encode_usdz
from receiver.export.rigging import posed, rig_one
from receiver.mesh.body_file import parse_body
from receiver.mesh.mesh_files import to_y_up
from receiver.mesh.skinned_glb import encode_body


def edited_body(content: bytes, person: Mapping[str, Any], edits: Edits, ending: str = "glb") -> list[bytes]:
    """The one part of a body file with changes, in the same pose.

    Args:
        content: the file of the body as it was sent.
        person: the person's entry in the model's row.
        ending: `glb`, in the place where the person was, or `usdz`, with the feet at the origin: viewers put that on
            the floor of a room.

    Raises:
        UsageError: the body cannot be read, or no body has these changes.
    """
    try:
        body = parse_body(content)
    except ValueError as error:
        raise UsageError("the body of this model cannot be read: upload the picture again") from error
    character = edits.applied(rig_one(person["identity"], body, person["wears"]))
    if ending == "usdz":
        return [encode_usdz([_standing_at_origin(character)])]
    return [encode_body(posed(character), character.skeleton)]


def _standing_at_origin(character: Character) -> Character:
    vertices, motion = to_y_up(posed(character).mesh.vertices), character.motion
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    feet = np.array([(low[0] + high[0]) / 2, low[1], (low[2] + high[2]) / 2], np.float32)
    return replace(character, motion=replace(motion, root_positions=motion.root_positions - feet))
