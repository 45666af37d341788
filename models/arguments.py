"""The checks of arguments that several networks share, and their words."""


def check_counts(network: str, **counts: int) -> None:
    """Raises ValueError, naming the argument, unless every count is at least 1."""
    for argument, count in counts.items():
        if count < 1:
            raise ValueError(f"{network}: {argument} must be at least 1, got {count}")


def check_dropout(network: str, dropout: float) -> None:
    """Raises ValueError unless `dropout` is a share of the units that leaves some of them."""
    if not 0 <= dropout < 1:
        raise ValueError(f"{network}: dropout must be at least 0 and below 1, got {dropout}")
