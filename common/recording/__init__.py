"""Recordings of one session (`FILE.bw`): packets and blobs as a receiver gets them, in blocks that can be sought.

    magic and format version │ facts │ block │ block │ … │ index │ trailer

    block    kind 1 B · flags 1 B · stored size 4 B · raw size 4 B · CRC-32 4 B │ a zstandard frame
    trailer  offset of the index 8 B · CRC-32 4 B · "BWIX"

Numbers are little-endian.  The CRC-32 covers the rest of the block.  Packets are opaque: the facts name the codec
version and the networks that decode them.  A block of frames covers about a second.  Each blob has its own block.

About every ten seconds a block is an *entry point*, where decoding can begin: its first frame is a key frame, or it
contains the codec's states that its frames and later ones are predicted from.

Blocks are appended whole, and the index last.  A file without an index, whose writer was killed, is readable up to its
last whole block: the index is rebuilt from the blocks.
"""
