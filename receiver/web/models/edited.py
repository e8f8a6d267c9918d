"""The body of a model with other clothes, colours or another build, as `receiver export` makes it."""

from collections.abc import Mapping
from typing import Any

from common.errors import UsageError
from receiver.export.editing import Edits
from receiver.export.rigging import posed, rig_one
from receiver.mesh.body_file import parse_body
from receiver.mesh.skinned_glb import encode_body


def edited_body(content: bytes, person: Mapping[str, Any], edits: Edits) -> bytes:
    """A body file with changes, in the same pose.

    Args:
        content: the file of the body as it was sent.
        person: the person's entry in the model's row.

    Raises:
        UsageError: the model is of an earlier version, or has no such body.
    """
    if "wears" not in person:
        raise UsageError("this model is of an earlier version: upload the picture again to change it")
    try:
        body = parse_body(content)
    except ValueError as error:
        raise UsageError("the body of this model cannot be read: upload the picture again") from error
    character = edits.applied(rig_one(person["identity"], body, person["wears"]))
    return encode_body(posed(character), character.skeleton)
