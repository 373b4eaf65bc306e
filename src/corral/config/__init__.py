"""
From `corral.yaml` to Settings, and back to the file for changes.

    files      a path -> Document: one file, or a folder merged (`yaml_text`, `toml_text`: text -> Document)
    document   plain data, with the file and line of every key
    overrides  CORRAL_* variables and command-line options laid over it
    templates  `${env.NAME}`, `${macro}`, `{{ path.to.value }}` and `{model}` filled in (`macros`: where they stand)
    schema     pydantic models: types, bounds, defaults, one docstring a key
    compile    the checked Config -> Fleet, ServerSpec and the rest, checked against the engines
    load       the walk through all of these: whole Settings, or ConfigErrors with every problem found
    editing    one value changed in the text (`edit_yaml`, `edit_toml`), judged as a whole config, then `write`

Nothing here imports an engine: their option tables come in as values.
"""
