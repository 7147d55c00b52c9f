"""How far a matrix is from gradkin's and from the truth: OURS THEIRS TRUTH, as JSON.

Entries are compared as those of unit gradients: each difference is divided by
the lengths of the two gradients, which changes nothing in a correlation. The
truth may be of fewer examples, the first ones.
"""

import json
import sys

import numpy as np

NOTICED = 1e-5


def differences(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Of the examples that both have, in units of the second's lengths."""
    count = min(len(first), len(second))
    first, second = (m[:count, :count].astype(np.float64) for m in (first, second))
    lengths = np.sqrt(second.diagonal())
    return np.abs(first - second) / np.outer(lengths, lengths)


def main() -> None:
    """Prints the numbers of the table."""
    ours, theirs, truth = (np.load(name) for name in sys.argv[1:])
    between = differences(theirs, ours)
    rows = np.median(between, axis=1) > NOTICED
    print(
        json.dumps(
            {
                "largest": float(between.max()),
                "noticed": int((between > NOTICED).sum()),
                "rows": int(rows.sum()),
                "elsewhere": float(between[~rows][:, ~rows].max()),
                "error": float(differences(theirs, truth).max()),
            }
        )
    )


if __name__ == "__main__":
    main()
