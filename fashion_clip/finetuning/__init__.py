"""Fine-tuning of both towers on a catalogue's own photos: the rungs `lora` and `full` of retraining.

`settings` says what a run is given, `training.finetune` makes it, `interpolation` mixes its weights with the
old ones and writes a model folder. captions, matching, sampling, augmentation and batches say what the towers
see, loss what they are asked for, adapters what of them moves, session what a step does, measuring how they
are judged, history how it went, state what outlasts a kill, folders what is written at the end.
"""
