"""The words of a report, for a reader who has never heard of unlearning."""

GLOSSARY = (
    ("pair", "Two things that were shown to the model together, such as a picture and its caption."),
    ("association", "What the model learned from a pair: that this picture and this caption belong together."),
    ("forget, retain", "Pairs that were asked to be deleted, and all other pairs that the model was trained on."),
    ("held-out", "Pairs of the same kind that no model was trained on. They show what “never seen” looks like."),
    ("original", "The model as it was given, trained on everything."),
    ("unlearned", "The model after the deletion: the one to use from now on."),
    (
        "retrained",
        "A model trained anew without the deleted pairs. It is what perfect forgetting looks like, and the "
        "yardstick here; making one is usually too costly, which is why unlearning exists.",
    ),
    (
        "over-forgetting",
        "Pushing a deleted pair below what a model that never saw it would give. It makes the pair stand out, "
        "and so is a trace of its own.",
    ),
    (
        "floor",
        "How far a second retrained model, of another seed, lies from the first. No deletion can be asked to come "
        "nearer than that.",
    ),
    (
        "margin",
        "How strongly a model holds to what belongs to a pair: the log-odds of its own label, or of its own partner "
        "among others. Higher is more certain.",
    ),
    ("association score", "How well the model thinks that a picture and a caption fit; higher means better."),
    (
        "recall at k",
        "How often the right caption (or picture) is among the first k that the model names: 0 never, 1 always.",
    ),
    (
        "gallery",
        "The captions or pictures among which the right one has to be found. A larger gallery is harder.",
    ),
    ("rank", "The place of the right caption in the model's list; 1 is first. Halves come from ties."),
    (
        "membership attack",
        "Somebody with the model tries to tell whether a pair was in the training data. After a good deletion "
        "the attack does no better than on a model that never saw the pair.",
    ),
    (
        "AUC",
        "The chance that the attack ranks a trained pair above an unseen one: 0.5 is guessing, 1 is certainty. "
        "The area under the attack's curve.",
    ),
    (
        "separation",
        "How well the model's own scores tell deleted pairs from kept ones; 0.5 means not at all. Figures called "
        "“as released” score pairs as the code of the method's authors does.",
    ),
    (
        "95 % interval",
        "Had other pairs of this kind been measured, the value would mostly have stayed in this range.",
    ),
    (
        "embedding",
        "The numbers into which the model turns a picture or a caption; fitting ones lie close together.",
    ),
)

OF_RETRAINED = ("retrained", "floor")  # words that a report without a retrained model has no use for


def glossary(*, has_retrained: bool) -> list[tuple[str, str]]:
    """The words of a report and their meanings."""
    return [(word, meaning) for word, meaning in GLOSSARY if has_retrained or word not in OF_RETRAINED]
