"""All odd packets there are, by family."""

from experiments.firewall_matrix.malformedkinds import addresses, fragments, icmperrors, ipheaders, nonip, segments

ODDITIES = (
    *segments.ODDITIES,
    *fragments.ODDITIES,
    *addresses.ODDITIES,
    *ipheaders.ODDITIES,
    *icmperrors.ODDITIES,
    *nonip.ODDITIES,
)
