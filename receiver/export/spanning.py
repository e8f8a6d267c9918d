"""Characters in skirts: their skinning weights, by which what spans both legs follows both.

A published body is skinned as the template is, so that its rest pose can be found; a character takes other poses.
"""

import dataclasses

import numpy as np

from common.body.anatomy import SKELETON
from receiver.export.character import Character
from receiver.export.dressing import bare_skin
from receiver.export.skin_weights import INFLUENCES, is_of_body_model, load_body_skin
from receiver.mesh.mesh_files import Y_UP
from receiver.mesh.skinned_glb import skeleton_from_dense


def spanned(character: Character) -> Character:
    """The character in which skirts, dresses and tails of coats stay whole when the legs part."""
    if not is_of_body_model(character.skeleton):
        return character
    model, skin = load_body_skin()
    displacement = ((character.mesh.vertices - bare_skin(character)) * Y_UP).astype(np.float32)
    weights = skin.span.weights(skin.template, displacement)
    if np.array_equal(weights, skin.template.weights):
        return character
    skeleton = skeleton_from_dense(SKELETON, np.array(model.parents), weights, INFLUENCES)
    return dataclasses.replace(character, skeleton=skeleton)
