"""Write the page that answers the question: tables and figures -> HTML."""

import json
from pathlib import Path

import jinja2
import yaml

from shiftgain.files import job
from shiftgain.files.commit import commit
from shiftgain.files.tables import read_csv, replacing
from shiftgain.findings.layers import in_order
from shiftgain.findings.pairs import read_pairs
from shiftgain.report import answers, cards, page, segmented, summary


def report(
    tables: dict[str, str], layers: list[str], contents: dict[str, dict], figures: dict[str, str], data: dict[str, str],
    captions: dict[str, str], predictor_figures: dict[str, str], tree_path: str, comparison: dict[str, str],
    folders: list[str], title: str, remedies: list[str], settings: dict, glossary_path: str, template_path: str,
    style_path: str, script_paths: list[str], atlas_path: str, published: dict[str, str],
    page_path: str, answer_path: str,
) -> None:  # fmt: skip
    """Write the page, which holds all figures, and to ``answer_path`` what it says first, and a table.

    Dicts map to paths: ``tables`` from the name of a table, ``figures`` and ``captions`` from that of a figure,
    ``predictor_figures`` from a protocol of stage predict, whose small tree in words is at ``tree_path``, and ``data``,
    the numbers in a figure, from its name or protocol. ``contents``: :func:`shiftgain.report.contents.figures`.
    ``layers`` are in the order of the network, ``remedies`` the methods that are remedies, ``folders`` those of
    stage segment, ``settings`` is the config, to be printed, and ``comparison`` the arguments of :func:`page.compared`
    by name, empty where no method trains with target images. ``style_path`` and ``script_paths`` are written into the
    page, as is the atlas, JSON of stage atlas. ``published``: tables of other studies by name, as far as there are
    any: the hypotheses that they decided over seeds, and how well advice did.
    """
    pairs = read_pairs(tables["pairs"])
    networks, gains, correlations, hypotheses = (
        read_csv(tables[name]) for name in ("networks", "gains", "correlations", "hypotheses")
    )
    elsewhere = {name: read_csv(path) for name, path in published.items()}
    decided = elsewhere.pop("hypotheses", hypotheses.head(0))
    predictors, scores = (read_csv(tables[name]) for name in ("predictors", "scores"))
    advice = cards.read(tables["advice"])
    correlations = in_order(correlations, layers)

    conditions = summary.condition_rows(pairs, remedies)
    said = {
        "rows": conditions,
        "when": summary.when(conditions, pairs),
        "why": summary.why(conditions, pairs),
        "told": summary.told(predictors, advice, pairs),
    }
    atlas = json.loads(Path(atlas_path).read_text())
    shown = [page.linked(card) for card in atlas.pop("cards")]
    masks = segmented.read(folders)
    good = segmented.answers(masks, advice, pairs)

    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    text = template.from_string(Path(template_path).read_text()).render(
        title=title,
        style=Path(style_path).read_text(),
        script="\n".join(Path(path).read_text() for path in script_paths),
        summary=said,
        # In a script, "</" would end it.
        atlas=json.dumps(atlas, separators=(",", ":")).replace("</", "<\\/"),
        atlas_shown=len(atlas["shown"]),
        atlas_pairs=len(atlas["pairs"]["source"]),
        cards=shown,
        when=list(answers.when(pairs)),
        why=list(answers.why(pairs)),
        mended=list(answers.mended(pairs, remedies)),
        told=list(answers.told(correlations)),
        contents=contents,
        captions={name: page.paragraphs(path) for name, path in captions.items()},
        data={name: Path(path).name for name, path in data.items()},
        numbers=json.dumps({Path(path).name: page.packed(path) for path in data.values()}),
        pictures={name: page.picture(path) for name, path in figures.items() if not page.is_blank(path)},
        glossary=yaml.safe_load(Path(glossary_path).read_text()),
        tables=page.tables(pairs, gains, networks, correlations, hypotheses, decided),
        readings=page.readings(read_csv(tables["domains"])),
        **page.prediction(predictors, advice, scores, pairs, predictor_figures, tree_path),
        trusted=list(answers.trusted(elsewhere)),
        unlabelled=page.unlabelled(pairs),
        masks=masks,
        good=good,
        comparison=page.compared(**comparison) if comparison else None,
        n_pairs=len(pairs),
        seeds=sorted(networks["seed"].unique()),
        settings=yaml.safe_dump(settings, sort_keys=False),
        versions=page.versions(),
        code=page.code(commit()),
    )
    with replacing(page_path) as partial:
        partial.write_text(text)
    with replacing(answer_path) as partial:
        partial.write_text(page.answer(said, good))


if __name__ == "__main__":
    with job.run(snakemake.log[0], snakemake.output):
        report(
            **job.by_name(snakemake.input, snakemake.params.names),
            tables={name: snakemake.input[name] for name in snakemake.params.tables},
            layers=snakemake.params.layers,
            contents=snakemake.params.contents,
            tree_path=snakemake.input.tree,
            comparison={name: snakemake.input[name] for name in snakemake.params.comparison},
            folders=list(snakemake.input.segmented),
            title=snakemake.params.title,
            remedies=snakemake.params.remedies,
            settings=snakemake.params.settings,
            glossary_path=snakemake.input.glossary,
            template_path=snakemake.input.template,
            style_path=snakemake.input.style,
            script_paths=list(snakemake.input.scripts),
            atlas_path=snakemake.input.atlas,
            page_path=snakemake.output.page,
            answer_path=snakemake.output.answer,
        )
