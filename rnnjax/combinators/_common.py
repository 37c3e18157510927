"""What combinators ask of the cell that they are given."""

from rnnjax._types import Array, Cell


def check_size(where: str, name: str, size: int) -> None:
    """Raises ValueError unless a size is a positive int."""
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise ValueError(f"{where}: expected {name} to be a positive int, got {size!r}.")


def known_output_size(where: str, cell: Cell) -> int:
    """Features of the cell's output; raises where the cell does not say."""
    if cell.output_size is None:
        raise ValueError(
            f"{where}: expected a cell that states its output_size, got None; set it, as in "
            "cell._replace(output_size=...)."
        )
    return cell.output_size


def check_output(where: str, y: Array, size: int) -> None:
    """Raises unless the output y `[..., size]` of a cell has the size that the cell states."""
    if y.shape[-1] != size:
        raise ValueError(
            f"{where}: expected an output with the {size} features of cell.output_size, got {y.shape[-1]}; state what "
            "apply returns, as in cell._replace(output_size=...)."
        )
