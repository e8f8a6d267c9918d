"""What goes over the wire between sender and receiver: message dataclasses and their conversion from and to bytes.

The protobuf stubs in this package (`semantic_link_pb2*`) are generated from `proto/common/wire/semantic_link.proto`
when the package is built and are never committed. In a checkout, generate them from the repository's root with

    python -m grpc_tools.protoc -Iproto --python_out=. --grpc_python_out=. --pyi_out=. \\
        proto/common/wire/semantic_link.proto

Nothing but `common.wire.convert` imports them.
"""
