"""
From `corral.yaml` to Settings.

    document   bytes -> plain data, with the line of every key
    overrides  CORRAL_* variables and command-line options laid over it
    templates  `${env.NAME}` and `{{ path.to.value }}` filled in
    schema     pydantic models: types, bounds, defaults, one docstring a key
    compile    the checked Config -> Fleet, ServerSpec and the rest, checked against the engines
    load       the walk through all of these: whole Settings, or ConfigErrors with every problem found

Nothing here imports an engine: their option tables come in as values.
"""
