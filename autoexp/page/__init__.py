"""The live page: a root as its journal tells it, shown in a browser. It only reads, but for markers where allowed.

`live` keeps what is shown, `jobs` gathers what one job's page has, `logs` reads logs, `guard` says who may ask,
`server` answers. What the browser runs stands in static/, as it is: there is no build step.
"""
