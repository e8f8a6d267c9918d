"""MediaPipe Pose on crops, for comparison: run by the Python of an environment in which `mediapipe` is installed.

    PYTHON tests/bench/people/mediapipe_pose.py < crops.npz > keypoints.npz

Reads `crops`, (N, S, S, 3) uint8 RGB, and writes `keypoints`, (N, 17, 2) in COCO's order, in 0…1 of the crop; NaN in
crops in which MediaPipe finds nobody.  It imports nothing of Bodywire, whose dependencies need other versions.
"""

import io
import sys

import mediapipe
import numpy as np

# MediaPipe's landmarks in the order of COCO's keypoints.
COCO_LANDMARKS = (0, 2, 5, 7, 8, 11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28)


def main() -> None:
    crops = np.load(io.BytesIO(sys.stdin.buffer.read()))["crops"]
    pose = mediapipe.solutions.pose.Pose(static_image_mode=True, model_complexity=1, min_detection_confidence=0.1)
    keypoints = np.full((len(crops), 17, 2), np.nan, np.float32)
    for row, crop in enumerate(crops):
        found = pose.process(np.ascontiguousarray(crop)).pose_landmarks
        if found is not None:
            keypoints[row] = [(found.landmark[index].x, found.landmark[index].y) for index in COCO_LANDMARKS]
    output = io.BytesIO()
    np.savez(output, keypoints=keypoints)
    sys.stdout.buffer.write(output.getvalue())


if __name__ == "__main__":
    main()
