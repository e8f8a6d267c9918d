"""The protocol between sender and receiver, and the format of label frames on disk.

The protobuf stubs in this package (`*_pb2*`) are generated from `proto/common/wire/*.proto` when the package is built
and are never committed. In a checkout, generate them from the repository's root with

    python -m grpc_tools.protoc -Iproto --python_out=. --grpc_python_out=. --pyi_out=. proto/common/wire/*.proto

Only modules of this package import them.
"""
