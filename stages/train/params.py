"""The parameters of train."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    Field,
    PlainSerializer,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
    model_validator,
)

from stages.covariance import EmSection
from stages.section import Backend, Retrieve, Section, spelled, twice

Positives = Literal["out", "in"]  # mean of logs, log of mean
ThetaKind = Literal["quantile", "absolute"]
Over = Literal["tokens", "class"]
FitSpace = Literal["cached", "head"]
Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Weight = Annotated[float, Field(ge=0)]
Scatter = Literal["within", "total"]
Access = Literal["inductive", "semi-supervised", "transductive"]
LETS_IN: dict[Access, str | None] = {"inductive": None, "semi-supervised": "target-rest", "transductive": "test"}
T = TypeVar("T")


def one_or_several(value: Any, check: ValidatorFunctionWrapHandler) -> Any:
    """A value that is right, or a list of such."""
    if not isinstance(value, list):
        return check(value)
    if not value:
        raise ValueError("an empty list has no value to choose; list some, or write one value")
    return [check(one) for one in value]


Listed = Annotated[T, WrapValidator(one_or_several), PlainSerializer(lambda value: value)]
"""One value, or in params.yaml a list of which one is chosen on source classes before a method sees it."""


class CcaSection(Section):
    """Regularised CCA: kept dimensions, ridge in units of the mean eigenvalue, power of the correlations."""

    dims: int = Field(ge=1)
    ridge: Weight
    power: Weight


class BatchesSection(Section):
    """What training in batches takes: Adam's rate, steps, batches and the supports in them."""

    lr: Positive
    steps: int = Field(ge=0)
    batch: int = Field(ge=2)
    support_share: Fraction


class DescentSection(BatchesSection):
    """What every residual head is trained with: temperature beside that."""

    tau: Positive


class GeneratorSection(BatchesSection):
    """FLEX-CLIP's VAE-GAN: units of every hidden layer, latent dimensions, steps of the critic before each of the
    generator's `steps`, weights of the gradient penalty and of what the critic says."""

    hidden: int = Field(ge=1)
    latent: int = Field(ge=1)
    critic_steps: int = Field(ge=1)
    penalty: Weight
    adversarial: Weight


NO_GENERATOR = GeneratorSection(
    hidden=1, latent=1, steps=0, lr=1.0, critic_steps=1, penalty=0.0, adversarial=0.0, batch=2, support_share=0.0
)  # what stands in a key where nothing is made


class GapSection(DescentSection):
    """A residual head on pooled features; hidden: the units of its hidden layer, 0 for a linear one."""

    hidden: int = Field(ge=0)
    positives: Positives


class GcrdpSection(GapSection):
    """GCRDP: the weights of its losses, the threshold of its mask, and how its views are read.

    over: what a mixture is of, the tokens of an item or the rows of a class, then with the values of class_mixture;
    space: whether the head maps what the components of the cached vectors are, or `head`: what they are made of. Then
    it maps every token before an item's views are gathered, and a class's mixture is fitted anew at every step."""

    over: Over
    space: FitSpace
    class_mixture: EmSection
    retrieve: Retrieve
    theta: float
    theta_kind: ThetaKind
    contrast: Weight
    alpha: Weight
    lambda_: Weight = Field(alias="lambda")

    @model_validator(mode="after")
    def _a_quantile_is_a_share(self) -> GcrdpSection:
        if self.theta_kind == "quantile" and not 0 <= self.theta <= 1:
            raise ValueError(f"theta {self.theta:g} is no quantile; pass 0 to 1, or theta_kind absolute")
        return self

    @field_validator("retrieve")
    @classmethod
    def _classes_have_views_and_items_none(cls, retrieve: Retrieve, others: ValidationInfo) -> Retrieve:
        if retrieve != "pooled" and others.data.get("over") == "class":
            raise ValueError("over class gives no item a view to be read; pass pooled, or over tokens")
        return retrieve

    @model_validator(mode="after")
    def _something_to_learn(self) -> GcrdpSection:
        if not (self.contrast or self.alpha or self.lambda_):
            raise ValueError("contrast, alpha and lambda are all 0, which leaves no loss; raise one of them")
        return self


class FlexclipSection(GapSection):
    """FLEX-CLIP: a head that a hidden layer and a gate make, and the generator of what it learns from.

    gate: where its bias starts; classification: weight of that loss beside the InfoNCE; generated: made-up pairs a
    target class; generated_share: their share of a batch, beside its real rows."""

    hidden: int = Field(ge=1)
    gate: float
    classification: Weight
    generated: int = Field(ge=0)
    generated_share: float = Field(ge=0, lt=1)
    generator: GeneratorSection


class CmmLossSection(Section):
    """CMM's losses: alpha is a, what the mapped picture counts in the logits beside the picture itself; margin is m;
    tau the temperature of the logits."""

    alpha: Weight
    margin: Weight
    triplet: Weight  # (ours) of the triplet loss beside the cross-entropy, which the paper adds as it is
    tau: Positive


class CmmSection(DescentSection, CmmLossSection):
    """CMM as a retriever."""


class ProbeSection(Section):
    """The linear probe: l2 is the weight of |W|^2 / 2 beside the sum of the losses."""

    l2: Listed[Positive]


class CrossModalSection(ProbeSection):
    """The cross-modal linear probe; texts: which of them are shots beside the pictures."""

    texts: Literal["names", "captions", "both"]


class TipAdapterSection(Section):
    """Tip-Adapter: scale of the cosines with the class names; weight and sharpness of what the supports say."""

    scale: Positive
    alpha: Listed[Weight]
    beta: Listed[Positive]


class TipAdapterFSection(TipAdapterSection):
    """Tip-Adapter-F: how the supports' keys are trained."""

    lr: Positive
    steps: int = Field(ge=0)


class CmmClassifierSection(CmmLossSection):
    """CMM as a classifier: rates of which one is chosen, steps at most, and `every` how many of them the map so far may
    be the one that is chosen."""

    lr: Listed[Positive]
    steps: int = Field(ge=0)
    every: int = Field(ge=1)


class UnlabelledSection(Section):
    """What a method learns from unlabelled items of target classes, if it may: the pairs that no label was bought for
    (semi-supervised), or the batch of queries (transductive). Its rows say so and are compared among themselves alone.

    rounds of soft self-training, 0 being none; unlabelled_weight: what an item counts beside a support;
    unlabelled_tau: temperature of its posterior; unlabelled_space: whether such items also count in the means of both
    modalities and, as pairs, in the CCA of two towers."""

    access: Access
    rounds: Listed[Annotated[int, Field(ge=0)]]
    unlabelled_weight: Listed[Weight]
    unlabelled_tau: Listed[Positive]
    unlabelled_space: Listed[bool]

    def at_work(self) -> UnlabelledSection:
        """The section with what its access never reads set to nothing: it is neither chosen nor part of a key."""
        idle = {"rounds": 0, "unlabelled_weight": 0.0, "unlabelled_tau": 1.0, "unlabelled_space": False}
        return self.model_copy(update=idle) if self.access == "inductive" else self


class ScmSection(UnlabelledSection):
    """SCM: how features are whitened, what a class name and the towers' own spaces count, how posteriors are read.

    covariance and shrinkage of the whitening, 1 being none; name_weight is lambda; tau is the posteriors' temperature;
    cosine is w, the share of the whitened cosine; vote_image and vote_text are b_v and b_t, the shares of the votes in
    the towers' own spaces, vote_shrinkage of their whitening; vote_neighbours: what the nearest examples there
    count beside them, neighbours_tau its temperature; captions: what a support's text is, that of ingest or the mean of
    all its captions' z; all_classes: whether in the gallery `all` source classes are judged, too;
    generated: FLEX-CLIP's made-up pairs of a target class beside its supports, in the joint space alone, made by
    `generator` and counting generated_weight supports together.

    attention: whether items are read anew for each class from their tokens; attention_image and attention_text are t,
    attention_support that of the supports, which attend to the name of their class, attention_share what the cosine of
    the attended place counts in a logit, beside that of the pooled one."""

    names: bool
    covariance: Listed[Scatter]
    shrinkage: Listed[Fraction]
    name_weight: Listed[Weight]
    tau: Listed[Positive]
    cosine: Listed[Fraction]
    vote_image: Listed[Fraction]
    vote_text: Listed[Fraction]
    vote_shrinkage: Listed[Fraction]
    vote_neighbours: Listed[Weight]
    neighbours_tau: Listed[Positive]
    captions: Literal["ingest", "all"]
    all_classes: bool
    generated: int = Field(ge=0)
    generated_weight: Listed[Weight]
    generator: GeneratorSection
    attention: bool
    attention_image: Listed[Positive]
    attention_text: Listed[Positive]
    attention_support: Listed[Positive]
    attention_share: Listed[Fraction]

    def at_work(self) -> UnlabelledSection:
        """The same also of what names weigh where they do not count, of what attention does not read where it is off,
        and of a generator that makes nothing."""
        idle: dict[str, Any] = {} if self.names else {"name_weight": 0.0}
        if not self.attention:
            idle |= {"attention_image": 1.0, "attention_text": 1.0, "attention_share": 0.0}
        if not (self.attention and self.names):
            idle |= {"attention_support": 1.0}
        if not self.generated:
            idle |= {"generated_weight": 0.0, "generator": NO_GENERATOR}
        return super().at_work().model_copy(update=idle)

    @field_validator("generated")
    @classmethod
    def _names_are_what_it_is_made_from(cls, generated: int, others: ValidationInfo) -> int:
        if generated and others.data.get("names") is False:
            raise ValueError("pairs are made from class names, and names is false; pass 0, or names true")
        return generated


class OwnSection(Section):
    """What decides the heads of a method of the user's own: the digest of its file, in which its values stand."""

    code: str


class SelectionSection(Section):
    """Choosing among listed values on source classes: how many halvings of these classes."""

    draws: int = Field(ge=1)


class VariantSection(Section):
    """One more row of the tables: a method with some other values than its section has."""

    method: str
    variant: Annotated[
        str, spelled(r"[a-z0-9][a-z0-9 ._-]*", "small letters, digits, blanks and . _ -, a letter or digit first")
    ]
    values: dict[str, Any]


class TrainSection(Section):
    """The section `train` of params.yaml."""

    methods: list[str] = Field(min_length=1)
    variants: list[VariantSection]
    admit: list[Literal["semi-supervised", "transductive"]]
    selection: SelectionSection
    align: CcaSection
    cca: CcaSection
    gap: GapSection
    gcrdp: GcrdpSection
    flexclip: FlexclipSection
    cmm: CmmSection
    scm: ScmSection
    linear_probe: ProbeSection
    cross_modal: CrossModalSection
    tip_adapter: TipAdapterSection
    tip_adapter_f: TipAdapterFSection
    cmm_classifier: CmmClassifierSection
    workers: Literal["auto"] | Annotated[int, Field(ge=1)]
    backend: Backend

    @field_validator("methods")
    @classmethod
    def _each_once(cls, methods: list[str]) -> list[str]:
        if again := twice(methods):
            raise ValueError(f"'{again}' stands twice, name each method once")
        return methods


class ClassifySection(Section):
    """The section `classify` of params.yaml: what `--task classify` sets of `train` and `split`."""

    methods: list[str] = Field(min_length=1)
    variants: list[VariantSection]
    shots: list[Annotated[int, Field(ge=1)]] = Field(min_length=1)


@dataclass(frozen=True, kw_only=True)
class TrainParams:
    """What `train` runs on: reads the artefacts before it; writes the heads ledger and the history."""

    section: TrainSection
    captions: str
    store: Path
    manifest: Path
    features: Path
    mixtures: Path | None  # None where no method reads views
    episodes: Path
    ledger: Path
    history: Path
    made_from: str
    wait_for_lock: bool
