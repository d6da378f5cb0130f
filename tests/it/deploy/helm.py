"""Asks the Helm engine, embedded in the Python package helm-python-sdk.

Goes in: on standard input a JSON object with `chart` (a directory) and `values` (YAML text, or empty).
Comes out: a JSON object with `lint` (messages of severity warning and error), `files` (template to rendered text), or
`error`. Does not do: any judging.
"""

import json
import sys

import helm_python as helm

asked = json.load(sys.stdin)
values = helm.values_from_yaml(asked["values"]) if asked["values"].strip() else {}
answer = {}
try:
    report = helm.lint(asked["chart"], values, strict=True, namespace="sluice-system")
    messages = [message for message in report["messages"] if message["severity"] >= 2]
    answer["lint"] = [f"{message['path']}: {message['error']}" for message in messages] + report["errors"]
    with helm.Chart.load(asked["chart"]) as chart:
        chart.validate_schema(values)
        answer["files"] = chart.render(values, name="sluice", namespace="sluice-system", is_install=True)
except helm.HelmError as error:
    answer["error"] = str(error)
json.dump(answer, sys.stdout)
