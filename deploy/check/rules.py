"""Prints a PrometheusRule's groups as a file of rules, for promtool."""

import sys

import yaml

with open(sys.argv[1]) as file:
    print(yaml.safe_dump(yaml.safe_load(file)["spec"], allow_unicode=True))
