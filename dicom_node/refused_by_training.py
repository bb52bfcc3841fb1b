"""Rows of the refusal table (``dicom_node.errors``): cohorts, recipes, runs and the values that models take.

Each is code → (number, meaning of at most 64 characters, advice).
"""

COMMAND = "Check the argument of the command."
TABLE = "Correct the cohort; `petct-node cohort check` lists every fault."
VALUES = "Correct the table of values, then ask again with `petct-node again`."

OF_VALUES = {
    "values-unreadable": (1174, "File of values cannot be read", VALUES),
    "values-ambiguous": (1175, "Several rows of values for one study", VALUES),
    "values-other-patient": (1176, "Values of another study or patient", VALUES),
}
COHORT = {
    "cohort-unreadable": (1101, "Cohort table cannot be read", TABLE),
    "cohort-faults": (1102, "Cohort table has faults", TABLE),
    "cohort-changed": (1103, "Cohort is not the one of the run", "Restore the cohort, or start a new run."),
    "cohort-fold-without-positives": (1104, "Part of a cohort without one of the classes", "Use fewer folds."),
    "cohort-image": (1105, "Image of a cohort cannot be used", "Mend or leave out the study, or use --skip-bad."),
    "cohort-too-large": (1106, "File of a cohort larger than is read", TABLE),
    "cohort-leak": (1107, "Cohort leaks from test to training", TABLE),
    "cohort-splits": (1108, "Stored splits of a cohort cannot be read", "Start a new run."),
    "cohort-interrupted": (1109, "A process that reads images was killed", "Use fewer processes, or more memory."),
}
PHANTOM = {
    "phantom-setting": (1120, "Settings make no phantom cohort", COMMAND),
    "phantom-folder": (1121, "Folder holds something else than this cohort", "Name a new or an empty folder."),
    "phantom-no-space": (1122, "Disk too small for the phantom cohort", "Write fewer subjects, or to another disk."),
}
RECIPE = {
    "recipe-unknown": (1150, "Recipe unknown", COMMAND),
    "recipe-variant-not-served": (
        1151,
        "Model is for comparison only",
        "Write the bundle of the recipe's first model.",
    ),
    "recipe-values-missing": (1152, "Table lacks the values of the model", TABLE),
    "label-contradicts-time": (1153, "Label is not what time and event say", TABLE),
    "value-missing": (1156, "Value that the model needs is not given", VALUES),
    "value-not-usable": (1157, "Value is not what the model takes", VALUES),
    "input-without-body": (
        1154,
        "No body seen on PET and CT",
        "Check the series; the whole-body model needs axial CT.",
    ),
    "input-without-pet": (1155, "Model needs a PET and there is none", "Use a model for CT alone."),
}
TRAINING = {
    "training-one-class": (1130, "One class only to learn from", "Label cases of both classes, or use fewer folds."),
    "training-loss-not-finite": (1131, "Loss of the training is no number", "Look at the rows named in the message."),
    "training-out-of-memory": (1132, "Training does not fit into memory", "Lower the setting named in the message."),
    "backbone-file": (1141, "Weights of the image network cannot be read", "Name a safetensors file."),
    "backbone-weights": (1142, "Weights are of another image network", "Set depth, width and stem to theirs."),
    "features-constant": (1143, "All image features the same", "Look at images and weights named in the message."),
    "classifier-none": (1144, "No classifier that may be kept", "Name another, or allow it in the settings."),
    "values-mixed": (1145, "Column of values mixes numbers and words", TABLE),
}
RUN = {
    "training-answer-not-finite": (1210, "Model answers with no number", "Lower the learning rate, look at the data."),
    "run-interrupted": (1211, "A process that trains was killed", "Use fewer jobs, or more memory."),
    "run-folder-used": (1201, "Folder holds another run or other files", "Name a new or an empty folder."),
    "run-variant-unknown": (1202, "Variant of the recipe unknown", COMMAND),
    "settings-wrong": (1203, "Settings of the recipe wrong", "Correct the settings named in the message."),
    "device-unknown": (1204, "Device unknown", COMMAND),
    "packages-missing": (1220, "Packages for training not installed", "Install the extra `training` of petct-node."),
}
EVALUATE = {
    "evaluate-on-training": (1160, "No studies that the model has not learnt from", "Give another cohort."),
    "evaluate-other-unit": (1225, "Column is in another unit than the model's", TABLE),
    "compare-cohorts": (1161, "Runs of different cohorts", "Run both on one cohort."),
    "compare-labels": (1162, "Runs with different labels", "Compare runs of the same question."),
    "compare-too-few": (1163, "Runs with too few common studies", "Compare runs of the same studies."),
    "compare-one-run": (1164, "One run where two are compared", COMMAND),
    "run-unreadable": (1165, "Files of a run cannot be read", COMMAND),
    "report-nothing-tested": (1166, "Nothing tested to report on", "Let the run go on, or label more studies."),
    "checklist-unreadable": (1167, "Checklist of a run cannot be read", "Mend checklist.toml of the run."),
    "tracking-failed": (1169, "MLflow did not take the run", "Check MLFLOW_TRACKING_URI, then run again."),
    "harmonise-centre": (1168, "Centre effect unknown to ComBat", "Leave ComBat off, or keep the centre out."),
}
