"""Contacts of mujoco-warp as MuJoCo's own.

Friction is limited by a pyramid, so that it depends on how a contact's frame is turned. MuJoCo turns that of a capsule
on a plane along the capsule (mjc_PlaneCapsule in engine_collision_primitive.c); mujoco-warp 4.0 does not if the capsule
stands within 30 degrees of upright, as Ant's shins do.
"""

import warp as wp
from mujoco_warp._src import collision_primitive

_shipped = collision_primitive.plane_capsule
SHORTEST = wp.constant(1e-6)
"""Part of the capsule's axis along the plane below which it has no direction there."""


@wp.func
def plane_capsule(
    plane_normal: wp.vec3,
    plane_pos: wp.vec3,
    capsule_pos: wp.vec3,
    capsule_axis: wp.vec3,
    capsule_radius: float,
    capsule_half_length: float,
):
    """Distances, positions and frame of the two contacts."""
    dist, pos, frame = _shipped(plane_normal, plane_pos, capsule_pos, capsule_axis, capsule_radius, capsule_half_length)
    along = capsule_axis - plane_normal * wp.dot(plane_normal, capsule_axis)
    if wp.length(along) > SHORTEST:
        n = plane_normal
        b = wp.normalize(along)
        c = wp.cross(n, b)
        frame = wp.mat33(n[0], n[1], n[2], b[0], b[1], b[2], c[0], c[1], c[2])
    return dist, pos, frame


collision_primitive.plane_capsule = plane_capsule
