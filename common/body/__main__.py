"""`python -m common.body`: bakes the body model into the cache, as set-up does."""

from common.body.bake import cache_file
from common.body.model import BodyModel


def main() -> None:
    model = BodyModel.load()
    print(f"body model ready: {model.rest_vertices.shape[1]} vertices, {len(model.parents)} bones, in {cache_file()}")


if __name__ == "__main__":
    main()
