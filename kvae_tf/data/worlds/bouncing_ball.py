"""A bouncing ball in four worlds: a box, a box with gravity, an irregular polygon, and Pong.

The worlds of Fraccaro et al. (2017), section 5, with the constants of the authors' generators: a
ball of radius 3 px and mass 1 in 32×32 binary frames, one pymunk step of 0.2 a frame. The ball may
sink into a wall for one frame before it turns: the collision is found after the step.

World coordinates are pixels, x to the right and y up: pixel (row, column) covers
``column <= x < column + 1`` and ``31 - row <= y < 32 - row``. As in the authors' frames, the ball
is drawn at whole pixels: the position is rounded down to the pixel that holds it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pymunk
from scipy.special import ndtri

from kvae_tf.data import number_checks
from kvae_tf.data.sequence_data import SequenceData, Splits
from kvae_tf.data.worlds import streams
from kvae_tf.errors import UserError

VERSION = 1  # of the generated data: raise it with every change that alters them

SIZE = 32  # pixels
CENTRE = 16.0
RADIUS = 3  # of the ball
MASS = 1.0
INTERVAL = 0.2  # a frame, in pymunk's unit of time
WALL_THICKNESS = 10.0  # outwards, so that a ball that fell fast cannot pass through
START_MARGIN = 6  # pixels from the frame's edge at the start: wall 2, radius 3, and 1 to spare

PADDLE_HALF_LENGTH = 3
PADDLE_SPEED = 2.0  # pixels a frame
PADDLE_RADIUS = 1.0
PADDLE_ELASTICITY = 0.99
PADDLE_LEFT, PADDLE_RIGHT = 0.0, 30.0

_TIMES = 21  # stream of random numbers under a seed

STATE_NAMES = ("x", "y", "velocity_x", "velocity_y")


class Scene(NamedTuple):
    """Parameters of one of the four worlds.

    Attributes:
      start_std: standard deviation of the ball's first position about the centre, pixels, before
        the position is clipped.
      speeds: limits of the uniform initial speed, pixels per unit of time; the direction is
        uniform.
      walls: line segments ((x0, y0), (x1, y1)), pixels.
      gravity: acceleration along y, 0 by default.
      ball_elasticity: elasticity of the ball, 1 by default; a collision has the product of both
        elasticities.
      wall_elasticity: elasticity of the walls, 1 by default.
      has_paddles: whether two paddles follow the ball's y; False by default.
    """

    start_std: float
    speeds: tuple[float, float]
    walls: tuple
    gravity: float = 0.0
    ball_elasticity: float = 1.0
    wall_elasticity: float = 1.0
    has_paddles: bool = False


def _closed(*corners):
    return tuple(zip(corners, (*corners[1:], corners[0]), strict=True))


_BOX = _closed((2, 2), (2, 30), (30, 30), (30, 2))
_POLYGON = _closed((3, 1), (1, 15), (8, 30), (25, 30), (30, 8), (15, 1))

SCENES = {
    "box": Scene(10.0, (10.0, 15.0), _BOX),
    "gravity": Scene(8.0, (5.0, 10.0), _BOX, gravity=-5.0),
    "polygon": Scene(2.5, (10.0, 15.0), _POLYGON),
    "pong": Scene(
        3.0,
        (10.0, 10.0),
        (((0, 1), (32, 1)), ((0, 32), (32, 32))),
        ball_elasticity=0.9,
        wall_elasticity=0.99,
        has_paddles=True,
    ),
}


def splits(
    scene: str,
    seed: int,
    num_sequences: Sequence[int] = (5000, 500, 1000),
    num_steps: int = 20,
    draw_walls: bool = False,
    path_frames: int | None = None,
    path_parts: int | None = None,
) -> Splits:
    """Train, validation and test sequences, each from its own stream of random numbers.

    Args:
      scene: a name out of ``SCENES``.
      seed: a non-negative int.
      num_sequences: numbers of sequences of the three parts; the size of one part does not change
        the other parts. 5,000, 500 and 1,000 by default.
      num_steps: number T of frames of a sequence, 20 by default; more frames continue the same
        sequences.
      draw_walls: draw the walls in the frames; False by default.
      path_frames: as for ``simulate``; None by default.
      path_parts: as for ``simulate``; None by default.

    Raises:
      UserError: the scene is unknown, a number is no positive integer, or ``path_frames`` is less
        than ``num_steps``.
    """

    def simulated(size, stream):
        return simulate(scene, size, num_steps, stream, draw_walls, path_frames, path_parts)

    return streams.split(simulated, num_sequences, seed)


def simulate(
    scene: str,
    num_sequences: int,
    num_steps: int,
    seed: int | np.random.SeedSequence,
    draw_walls: bool = False,
    path_frames: int | None = None,
    path_parts: int | None = None,
) -> SequenceData:
    """Sequences from random starts.

    Args:
      scene: a name out of ``SCENES``.
      num_sequences: number N of sequences.
      num_steps: number T of frames of a sequence.
      seed: a non-negative int or a ``SeedSequence``.
      draw_walls: draw the walls in the frames; False by default.
      path_frames: number of frames of a simulated path, at least T. The T frames are drawn from it
        at random, for each sequence others, and have ``times``: 0.2 between two frames of the path.
        None: the first T frames, without times (default).
      path_parts: number of steps of the simulation from one frame of the path to the next, each
        ``0.2 / path_parts`` long; the T frames may fall on any of them. None: 1 (default).

    Returns:
      ``SequenceData`` with ``frames [N, T, 32, 32, 1]`` uint8 (0 or 255) and ``states [N, T, 4]``:
      position in pixels, velocity in pixels per unit of time (0.2 units a frame).

    Raises:
      UserError: the scene is unknown, a number is no positive integer, or ``path_frames`` is less
        than T.
    """
    path_parts = number_checks.integer("path_parts", 1 if path_parts is None else path_parts)
    if path_frames is not None:
        path = path_frames, path_parts
        return _at_random_times(scene, num_sequences, num_steps, seed, draw_walls, *path)
    if scene not in SCENES:
        raise UserError(f"scene is {scene!r}, expected one of {', '.join(sorted(SCENES))}")
    num_sequences = number_checks.integer("num_sequences", num_sequences)
    num_steps = number_checks.integer("num_steps", num_steps)
    # Four numbers for each sequence, so that more sequences start with the same ones.
    draws = streams.generator(seed).random((num_sequences, 4))
    settings = SCENES[scene]
    position = CENTRE + settings.start_std * ndtri(draws[:, :2])
    position = np.clip(position, START_MARGIN, SIZE - START_MARGIN)
    angle = 2.0 * np.pi * draws[:, 2]
    speed = settings.speeds[0] + (settings.speeds[1] - settings.speeds[0]) * draws[:, 3]
    velocity = speed[:, np.newaxis] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    states, paddles = integrate(settings, position, velocity, num_steps, path_parts)
    lit = draw_ball(states[..., :2])
    if settings.has_paddles:
        lit |= draw_paddles(paddles)
    if draw_walls:
        lit |= draw_lines(settings.walls)
    return SequenceData(
        frames=(255 * lit[..., np.newaxis].astype(np.uint8)),
        observed=np.ones((num_sequences, num_steps), np.float32),
        controls=np.zeros((num_sequences, num_steps, 0), np.float32),
        states=states.astype(np.float32),
        state_names=STATE_NAMES,
    )


def _at_random_times(scene, num_sequences, num_steps, seed, draw_walls, path_frames, parts):
    """Frames out of longer paths, with their times."""
    num_steps = number_checks.integer("num_steps", num_steps)
    path_frames = number_checks.integer("path_frames", path_frames)
    if path_frames < num_steps:
        raise UserError(f"path_frames is {path_frames}, expected {num_steps} or more, as num_steps")
    num_places = (path_frames - 1) * parts + 1
    whole = simulate(scene, num_sequences, num_places, seed, draw_walls, path_parts=parts)
    # A stream of its own, so that the paths are those of the regular world.
    own = seed if isinstance(seed, np.random.SeedSequence) else np.random.SeedSequence(seed)
    own = np.random.SeedSequence(own.entropy, spawn_key=(*own.spawn_key, _TIMES))
    order = streams.generator(own).random((num_sequences, num_places)).argsort(axis=1)
    steps = np.sort(order[:, :num_steps], axis=1)
    rows = np.arange(num_sequences)[:, np.newaxis]
    return SequenceData(
        frames=whole.frames[rows, steps],
        observed=whole.observed[rows, steps],
        controls=whole.controls[rows, steps],
        states=whole.states[rows, steps],
        state_names=whole.state_names,
        times=INTERVAL / parts * steps,
    )


def integrate(
    scene: Scene, position: np.ndarray, velocity: np.ndarray, num_steps: int, parts: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """States at the frames, by pymunk.

    Args:
      scene: walls, gravity, elasticities and paddles of the world.
      position: ``[N, 2]``, position at frame 0, pixels.
      velocity: ``[N, 2]``, velocity at frame 0, pixels per unit of time.
      num_steps: number T of frames.
      parts: number of frames in an interval of 0.2, 1 by default.

    Returns:
      states ``[N, T, 4]`` float64, and the y of the paddles' centre ``[N, T]``.
    """
    space = pymunk.Space()
    space.gravity = (0.0, scene.gravity)
    for start, stop in scene.walls:
        wall = _wall(space, start, stop)
        wall.elasticity = scene.wall_elasticity
        space.add(wall)
    states = np.empty((len(position), num_steps, 4))
    paddles = np.full((len(position), num_steps), CENTRE)
    for i in range(len(position)):
        body = pymunk.Body(MASS, pymunk.moment_for_circle(MASS, 0, RADIUS))
        body.position, body.velocity = tuple(position[i]), tuple(velocity[i])
        ball = pymunk.Circle(body, RADIUS)
        ball.elasticity = scene.ball_elasticity
        space.add(body, ball)
        centre = CENTRE
        for t in range(num_steps):
            states[i, t] = *body.position, *body.velocity
            paddles[i, t] = centre
            if scene.has_paddles:
                centre = _follow(centre, body.position.y)
                shapes = _paddles(space, centre)
                space.add(*shapes)
                space.step(INTERVAL / parts)
                space.remove(*shapes)
            else:
                space.step(INTERVAL / parts)
        space.remove(body, ball)
    return states, paddles


def _wall(space, start, stop):
    """A thick wall whose inner face is the given line."""
    start, stop, centre = (np.asarray(point, float) for point in (start, stop, (CENTRE, CENTRE)))
    along = (stop - start) / np.linalg.norm(stop - start)
    outward = np.array([along[1], -along[0]])
    outward *= np.sign(outward @ (start - centre)) * WALL_THICKNESS
    ends = tuple(start + outward), tuple(stop + outward)
    return pymunk.Segment(space.static_body, *ends, WALL_THICKNESS)


def _follow(centre, y):
    """The paddles' next position: towards the ball's y, within the frame."""
    if y < centre - PADDLE_SPEED / 2:
        return centre - min(centre - PADDLE_HALF_LENGTH, PADDLE_SPEED)
    if y > centre + PADDLE_SPEED / 2:
        return centre + min(SIZE - PADDLE_HALF_LENGTH - centre, PADDLE_SPEED)
    return centre


def _paddles(space, centre):
    shapes = []
    for x in (PADDLE_LEFT, PADDLE_RIGHT):
        ends = (x, centre - PADDLE_HALF_LENGTH), (x, centre + PADDLE_HALF_LENGTH)
        shape = pymunk.Segment(space.static_body, *ends, PADDLE_RADIUS)
        shape.elasticity = PADDLE_ELASTICITY
        shapes.append(shape)
    return shapes


def draw_ball(position: np.ndarray) -> np.ndarray:
    """Balls at whole pixels: 29 lit pixels, fewer at the frame's edge.

    Args:
      position: ``[..., 2]`` pixels.

    Returns:
      ``[..., 32, 32]`` bool.
    """
    column, row = _pixel(np.asarray(position))
    pixel = np.arange(SIZE)
    across = (pixel - column[..., np.newaxis]) ** 2  # [..., 32]
    down = (pixel - row[..., np.newaxis]) ** 2
    return down[..., :, np.newaxis] + across[..., np.newaxis, :] <= RADIUS**2


def draw_paddles(centre: np.ndarray) -> np.ndarray:
    """Both paddles, ``[..., 32, 32]`` bool, with their centres at y = ``centre [...]``."""
    _, row = _pixel(np.stack([np.zeros_like(centre), centre], axis=-1))
    pixel = np.arange(SIZE)
    within = np.abs(pixel - row[..., np.newaxis]) <= PADDLE_HALF_LENGTH  # [..., 32]
    near = [np.abs(pixel - x) <= PADDLE_RADIUS for x in (PADDLE_LEFT, PADDLE_RIGHT)]
    return within[..., :, np.newaxis] & (near[0] | near[1])


def draw_lines(lines: Sequence) -> np.ndarray:
    """Line segments one pixel wide, ``[32, 32]`` bool."""
    lit = np.zeros((SIZE, SIZE), bool)
    for start, stop in lines:
        share = np.linspace(0.0, 1.0, 4 * SIZE)[:, np.newaxis]
        points = (1.0 - share) * np.asarray(start) + share * np.asarray(stop)
        column, row = _pixel(points)
        lit[np.clip(row, 0, SIZE - 1), np.clip(column, 0, SIZE - 1)] = True
    return lit


def _pixel(position):
    """Column and row of the pixels that hold ``position [..., 2]``; y points up, rows down."""
    pixel = np.floor(position).astype(int)
    return pixel[..., 0], SIZE - 1 - pixel[..., 1]
