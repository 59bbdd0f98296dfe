"""All odd packets there are, by family."""

from experiments.firewall.oddities import addresses, errors, fragments, frames, headers, segments

ODDITIES = (
    *segments.ODDITIES,
    *fragments.ODDITIES,
    *addresses.ODDITIES,
    *headers.ODDITIES,
    *errors.ODDITIES,
    *frames.ODDITIES,
)
