"""MoveNet SinglePose (Google, Apache-2.0): 17 keypoints of one person in a square crop."""
