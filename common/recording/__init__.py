"""Recordings of one session (`FILE.bw`): packets and blobs as a receiver gets them, in blocks that can be sought.

    magic and format version │ facts │ block │ block │ …

    block    kind 1 B · time 8 B · stored size 4 B · CRC-32 4 B │ a zstandard frame

Numbers are little-endian.  The time is that at which the block's first frame was captured, in microseconds since the
epoch.  The CRC-32 covers the rest of the block.  Packets are opaque: the facts name the codec version and the networks
that decode them.  A block of frames covers about a second.  Each blob has its own block.

About every twenty seconds a block is an *entry point*, where decoding can begin: its first frame is a key frame, or it
contains the codec's states that its frames and later ones are predicted from.

Blocks are appended whole.  A file whose writer was killed is readable up to its last whole block.

The sender's spool (`sender.spool`) consists of recordings too, with a block for each frame.
"""
