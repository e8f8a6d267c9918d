"""Records what sessions receive, and replays recordings in place of senders."""
