"""The product of a constant sparse matrix with tensors: one kernel on any device, which reads only what is not zero."""

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn
from torch.nn import functional as F


class SparseProduct(nn.Module):
    """Multiplies by a matrix (N, M), given as an array or sparse."""

    columns: Tensor
    starts: Tensor
    values: Tensor

    def __init__(self, matrix: object) -> None:
        super().__init__()
        rows = sparse.csr_array(matrix)
        for name, array in (("columns", rows.indices), ("starts", rows.indptr[:-1])):
            self.register_buffer(name, torch.from_numpy(array.astype(np.int32)), persistent=False)
        self.register_buffer("values", torch.from_numpy(rows.data.astype(np.float32)), persistent=False)

    def forward(self, table: Tensor) -> Tensor:
        """(M, …) → (N, …)."""
        bags = self.columns, table.flatten(1), self.starts
        product: Tensor = F.embedding_bag(*bags, mode="sum", per_sample_weights=self.values)
        return product.reshape(-1, *table.shape[1:])
