"""Drawing with AUTOMATIC1111 and Forge, against a server with all the traps of the real ones."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from PIL import Image

from darkroom.configuration import EngineConfig
from darkroom.domain import MAX_SEED, MaskSupport, Operation, Size
from darkroom.errors import EngineFailed, Misconfigured, ModelNotOffered
from engines.automatic1111 import Automatic1111
from engines.automatic1111_answer import Info, read_pictures
from engines.catalog import Catalog
from engines.fitting import fit
from tests.engines.automatic1111_builders import (
    RED,
    an_edit,
    engine_at,
    pixel,
    plain,
    with_params,
)
from tests.engines.builders import Reports, a_request, a_task, opened
from tests.engines.servers.automatic1111 import Automatic1111Server
from tests.engines.servers.automatic1111_pictures import colour
from tests.engines.servers.automatic1111_rules import Checkpoint


@pytest.fixture
def server() -> Iterator[Automatic1111Server]:
    with Automatic1111Server() as server:
        yield server


@pytest.fixture
def engine(server: Automatic1111Server) -> Automatic1111:
    return engine_at(server)


def sent(server: Automatic1111Server) -> dict[str, Any]:
    """The body of the only call to draw."""
    (body,) = server.drawing_calls()
    assert isinstance(body, dict)
    return body


def test_it_is_free_edits_and_takes_one_job_at_a_time() -> None:
    assert not Automatic1111.paid
    assert not Automatic1111.resumes
    assert Automatic1111.max_in_flight == 1
    assert Operation.EDIT in Automatic1111.operations


def test_everything_asked_for_is_sent(engine: Automatic1111, server: Automatic1111Server) -> None:
    task = a_task(
        "default",
        prompt="a cat",
        count=3,
        size=Size(640, 384),
        steps=7,
        seed=5,
        negative_prompt="fog",
    )

    images = engine.generate(task, Reports())

    body = sent(server)
    assert (body["prompt"], body["negative_prompt"], body["steps"]) == ("a cat", "fog", 7)
    assert [opened(each.data).size for each in images] == [(640, 384)] * 3
    assert [pixel(each) for each in images] == [colour("dreamscape", seed) for seed in (5, 6, 7)]
    assert [each.seed for each in images] == [5, 6, 7]


def test_many_pictures_are_drawn_one_after_the_other(
    engine: Automatic1111, server: Automatic1111Server
) -> None:
    engine.generate(a_task("default", count=4), Reports())

    assert (sent(server)["n_iter"], sent(server)["batch_size"]) == (4, 1)


def test_an_admin_may_let_them_be_drawn_side_by_side(server: Automatic1111Server) -> None:
    images = with_params(server, batch_size=2).generate(
        a_task("default", count=3, seed=1), Reports()
    )

    assert (sent(server)["n_iter"], sent(server)["batch_size"]) == (2, 2)
    assert [each.seed for each in images] == [1, 2, 3]


def test_the_api_would_take_fifty_steps_where_people_expect_twenty(
    engine: Automatic1111, server: Automatic1111Server
) -> None:
    engine.generate(a_task("default"), Reports())

    assert sent(server)["steps"] == 20


def test_a_random_seed_is_told_although_the_parameters_echo_minus_one(
    engine: Automatic1111,
) -> None:
    images = engine.generate(a_task("default", count=2), Reports())

    first, second = (each.seed for each in images)
    assert first is not None
    assert first >= 0
    assert second == first + 1
    assert pixel(images[0]) == colour("dreamscape", first)


def test_info_is_text_that_holds_json(engine: Automatic1111, server: Automatic1111Server) -> None:
    body = {"prompt": "a cat", "seed": 7, "steps": 1}
    raw = requests.post(f"{server.url}/sdapi/v1/txt2img", json=body, timeout=20).json()["info"]

    assert isinstance(raw, str)
    assert Info.read(raw).seeds == (7,)
    assert engine.generate(a_task("default", seed=7), Reports())[0].seed == 7


def test_a_width_of_65_would_be_drawn_as_64_so_it_is_fitted_before(
    engine: Automatic1111,
) -> None:
    model = engine.model("default")
    assert model is not None

    fitted = fit(a_request(size=Size(65, 65)), model)
    images = engine.generate(a_task("default", size=fitted.request.size), Reports())

    assert fitted.request.size == Size(64, 64)
    assert "cannot draw 65x65" in fitted.warnings[0]
    assert opened(images[0].data).size == (64, 64)


def test_the_largest_seed_leaves_room_for_ten_pictures(engine: Automatic1111) -> None:
    model = engine.model("default")
    assert model is not None

    request = fit(a_request(seed=MAX_SEED, count=10), model).request
    assert request.seed is not None

    assert request.seed + request.count - 1 < 2**32


# Edits


def test_an_edit_repaints_where_the_mask_is_white_and_keeps_the_rest(
    engine: Automatic1111, server: Automatic1111Server
) -> None:
    mask = Image.new("L", (128, 128), 0)
    mask.paste(255, (64, 0, 128, 128))

    images = engine.generate(an_edit(plain(), mask=mask, seed=3), Reports())

    assert pixel(images[0], 10, 60) == RED
    assert pixel(images[0], 110, 60) == colour("dreamscape", 3)
    assert server.runs[0].kind == "img2img"


def test_an_edit_repaints_on_top_of_the_picture_and_over_the_whole_of_it(
    engine: Automatic1111, server: Automatic1111Server
) -> None:
    engine.generate(an_edit(plain(), mask=Image.new("L", (128, 128), 255)), Reports())

    body = sent(server)
    assert (body["inpainting_fill"], body["inpaint_full_res"]) == (1, False)
    mask = opened(base64.b64decode(body["mask"]))
    assert mask.mode == "L"


def test_img2img_does_not_take_the_size_of_its_picture_by_itself(
    engine: Automatic1111,
) -> None:
    images = engine.generate(an_edit(plain(300, 203)), Reports())

    assert opened(images[0].data).size == (304, 200)


def test_an_edit_of_a_large_picture_is_scaled_down_to_what_can_be_drawn(
    engine: Automatic1111,
) -> None:
    images = engine.generate(an_edit(plain(4096, 2048)), Reports())

    assert opened(images[0].data).size == (2048, 1024)


def test_a_picture_of_another_shape_is_cropped_and_not_stretched(engine: Automatic1111) -> None:
    picture = plain(256, 128)
    picture.paste((0, 0, 255), (64, 0, 192, 128))
    nothing = Image.new("L", (256, 128), 0)

    images = engine.generate(an_edit(picture, mask=nothing, size=Size(128, 128)), Reports())

    assert pixel(images[0], 4, 60) == (0, 0, 255)


def test_edits_take_one_picture_and_an_exact_mask(engine: Automatic1111) -> None:
    model = engine.model("whatever")
    assert model is not None

    assert model.capabilities.max_input_images == 1
    assert model.capabilities.mask is MaskSupport.EXACT


# Checkpoints


def test_models_are_known_without_asking_anyone() -> None:
    config = EngineConfig(name="automatic1111", base_url="http://127.0.0.1:9")
    engine = Automatic1111(config, Catalog())

    assert [each.id for each in engine.models()] == ["default"]


def test_listing_begins_with_the_nameless_checkpoint_and_then_the_loaded_one(
    engine: Automatic1111, server: Automatic1111Server
) -> None:
    server.machine.options["sd_model_checkpoint"] = "sdxl/realist.safetensors [ee787f6fec]"

    models = engine.list_models()

    assert [each.id for each in models] == ["default", "sdxl_realist", "dreamscape", "anime"]
    assert all(each.capabilities.max_input_images == 1 for each in models)


def test_two_files_of_one_name_have_ids_of_their_own() -> None:
    twins = [Checkpoint("x.ckpt", "1111111111"), Checkpoint("x.safetensors", "2222222222")]
    with Automatic1111Server(checkpoints=twins) as server:
        engine = engine_at(server)
        server.machine.options["sd_model_checkpoint"] = None

        assert [each.id for each in engine.list_models()] == ["default", "x.ckpt", "x.safetensors"]
        engine.generate(a_task("x.safetensors"), Reports())

        assert server.machine.loaded == twins[1]


@pytest.mark.parametrize(
    "name",
    [
        "sdxl_realist",
        "sdxl/realist.safetensors",
        "sdxl/realist.safetensors [ee787f6fec]",
        "realist.safetensors",
        "realist",
        "ee787f6fec",
        "/srv/webui/models/Stable-diffusion/sdxl/realist.safetensors",
    ],
)
def test_a_checkpoint_can_be_asked_for_by_any_of_its_names(
    engine: Automatic1111, name: str
) -> None:
    images = engine.generate(a_task(name, seed=1), Reports())

    assert pixel(images[0]) == colour("realist", 1)


@pytest.mark.parametrize("name", ["nope", "dream", "DREAMSCAPE", "default2"])
def test_an_unknown_checkpoint_is_refused_before_it_is_silently_replaced(
    engine: Automatic1111, server: Automatic1111Server, name: str
) -> None:
    with pytest.raises(ModelNotOffered, match=name):
        engine.generate(a_task(name), Reports())

    assert server.runs == []


@pytest.mark.parametrize("wanted", ["sdxl_realist", "anime"])
def test_pictures_of_another_checkpoint_than_asked_for_are_dropped(
    engine: Automatic1111, server: Automatic1111Server, wanted: str
) -> None:
    server.fail("stale")

    with pytest.raises(EngineFailed, match=f"'dreamscape' instead of '{wanted}'"):
        engine.generate(a_task(wanted), Reports())


def test_a_checkpoint_gets_its_hash_only_when_it_is_first_loaded(
    engine: Automatic1111, server: Automatic1111Server
) -> None:
    for _ in range(2):
        images = engine.generate(a_task("anime", seed=1), Reports())

        assert pixel(images[0]) == colour("anime", 1)
    assert [each.id for each in engine.list_models()] == [
        "default",
        "dreamscape",
        "sdxl_realist",
        "anime",
    ]


def test_two_checkpoints_whose_files_share_a_name_are_told_apart_by_their_hashes() -> None:
    twins = [Checkpoint("a/x.safetensors", "1111111111"), Checkpoint("b/x.safetensors", "2" * 10)]
    with Automatic1111Server(checkpoints=twins) as server:
        server.fail("ok", "stale")
        engine = engine_at(server)
        engine.generate(a_task("a_x"), Reports())

        with pytest.raises(EngineFailed):
            engine.generate(a_task("b_x"), Reports())


def test_the_settings_of_the_server_are_never_changed(
    engine: Automatic1111, server: Automatic1111Server
) -> None:
    before = dict(server.machine.options)

    engine.generate(a_task("anime"), Reports())
    engine.generate(a_task("default"), Reports())

    assert server.machine.options == before
    assert [each for each in server.calls_to("/options") if each.method == "POST"] == []
    assert [each.checkpoint for each in server.runs] == ["anime", "dreamscape"]


def test_the_loaded_checkpoint_needs_no_list_and_no_setting(
    engine: Automatic1111, server: Automatic1111Server
) -> None:
    engine.generate(a_task("default"), Reports())

    assert sent(server)["override_settings"] == {}
    assert server.calls_to("/sd-models") == []


# What an admin adds


def test_an_admins_params_fill_what_is_left_open_and_replace_nothing(
    server: Automatic1111Server,
) -> None:
    engine = with_params(
        server,
        prompt="x",
        n_iter=9,
        seed=1,
        steps=33,
        negative_prompt="blurry",
        width=256,
        height=256,
        cfg_scale=4.5,
        send_images=False,
        override_settings={"sd_model_checkpoint": "anime", "CLIP_stop_at_last_layers": 2},
        override_settings_restore_afterwards=False,
    )

    engine.generate(a_task("dreamscape", prompt="a cat", seed=7, size=Size(64, 64)), Reports())
    engine.generate(a_task("default", prompt="a dog", steps=5), Reports())

    asked, left_open = server.drawing_calls()
    assert (asked["prompt"], asked["seed"], asked["width"]) == ("a cat", 7, 64)
    assert (asked["steps"], asked["negative_prompt"], asked["cfg_scale"]) == (33, "blurry", 4.5)
    assert asked["override_settings"]["CLIP_stop_at_last_layers"] == 2
    assert (left_open["steps"], left_open["width"], left_open["seed"]) == (5, 256, -1)
    assert [each.checkpoint for each in server.runs] == ["dreamscape", "anime"]
    assert server.machine.options["CLIP_stop_at_last_layers"] == 1


def test_a_checkpoint_in_the_params_is_checked_too(server: Automatic1111Server) -> None:
    engine = with_params(server, override_settings={"sd_model_checkpoint": "nope"})

    with pytest.raises(Misconfigured, match=r"'nope'.*DARKROOM_AUTOMATIC1111_PARAMS"):
        engine.generate(a_task("default"), Reports())

    assert server.runs == []


@pytest.mark.parametrize(
    ("params", "named"),
    [
        ({"sampler_name": "Eulre"}, "sampler 'Eulre'"),
        ({"sampler_name": "euler"}, "sampler 'euler'"),
        ({"sampler_index": "Eulre"}, "sampler 'Eulre'"),
        ({"sampler_name": "Eulre Karras"}, "sampler 'Eulre Karras'"),
        ({"sampler_name": "Euler", "scheduler": "Carrots"}, "scheduler 'Carrots'"),
    ],
)
def test_an_unknown_sampler_or_scheduler_is_named_before_it_is_silently_replaced(
    server: Automatic1111Server, params: dict[str, str], named: str
) -> None:
    with pytest.raises(Misconfigured, match=f"{named}.*DARKROOM_AUTOMATIC1111_PARAMS"):
        with_params(server, **params).generate(a_task("default"), Reports())

    assert server.runs == []


@pytest.mark.parametrize(
    "params",
    [
        {"sampler_name": "Euler a"},
        {"sampler_name": "DPM++ 2M Karras"},
        {"sampler_name": "DPM++ 2M", "scheduler": "karras"},
        {"sampler_name": "DPM++ 2M", "scheduler": "SGM Uniform"},
    ],
)
def test_a_known_sampler_draws(server: Automatic1111Server, params: dict[str, str]) -> None:
    assert with_params(server, **params).generate(a_task("default"), Reports())


def test_an_old_server_that_lists_no_schedulers_draws() -> None:
    with Automatic1111Server(is_old=True) as server:
        engine = with_params(server, sampler_name="Euler", scheduler="Karras")

        assert engine.generate(a_task("default"), Reports())


@pytest.mark.parametrize("is_forge", [True, False])
def test_forge_breaks_on_hires_without_its_modules(is_forge: bool) -> None:
    with Automatic1111Server(is_forge=is_forge) as server:
        engine = with_params(server, enable_hr=True, hr_scale=1.5, hr_upscaler="Latent")

        images = engine.generate(a_task("default", size=Size(256, 128)), Reports())

        assert opened(images[0].data).size == (384, 192)


# Answers


def test_gzipped_answers_are_asked_for_and_read(
    engine: Automatic1111, server: Automatic1111Server
) -> None:
    images = engine.generate(a_task("default", seed=1), Reports())

    (asked,) = server.calls_to("/txt2img")
    assert "gzip" in asked.headers["accept-encoding"]
    assert pixel(images[0]) == colour("dreamscape", 1)


@pytest.mark.parametrize(("kind", "format_"), [("jpg", "JPEG"), ("webp", "WEBP"), ("png", "PNG")])
def test_samples_format_chooses_the_file_type(
    engine: Automatic1111, server: Automatic1111Server, kind: str, format_: str
) -> None:
    server.machine.options["samples_format"] = kind

    assert opened(engine.generate(a_task("default"), Reports())[0].data).format == format_


def test_a_grid_before_the_pictures_is_left_out(server: Automatic1111Server) -> None:
    engine = with_params(server, save_images=True)

    images = engine.generate(a_task("default", count=3, seed=5, size=Size(64, 64)), Reports())

    assert [opened(each.data).size for each in images] == [(64, 64)] * 3
    assert [(pixel(each), each.seed) for each in images] == [
        (colour("dreamscape", seed), seed) for seed in (5, 6, 7)
    ]


@pytest.mark.parametrize("options", [["return_mask"], ["return_mask", "return_mask_composite"]])
def test_masks_between_the_pictures_are_left_out(
    engine: Automatic1111, server: Automatic1111Server, options: list[str]
) -> None:
    server.machine.options |= dict.fromkeys(options, True)
    mask = Image.new("L", (128, 128), 255)

    images = engine.generate(an_edit(plain(), mask=mask, count=3, seed=5), Reports())

    assert [pixel(each) for each in images] == [colour("dreamscape", seed) for seed in (5, 6, 7)]


@pytest.mark.parametrize("extras", [1, 2, 3])
def test_pictures_of_extensions_after_the_real_ones_are_left_out(
    engine: Automatic1111, server: Automatic1111Server, extras: int
) -> None:
    server.machine.extras = extras

    images = engine.generate(a_task("default", count=2, seed=5), Reports())

    assert [pixel(each) for each in images] == [colour("dreamscape", 5), colour("dreamscape", 6)]


def test_a_server_that_says_nothing_of_its_pictures_is_believed(
    engine: Automatic1111, server: Automatic1111Server
) -> None:
    server.is_silent = True

    images = engine.generate(a_task("anime", count=2, seed=5), Reports())

    assert [pixel(each) for each in images] == [colour("anime", 5), colour("anime", 6)]
    assert [each.seed for each in images] == [None, None]


@pytest.mark.parametrize(
    "info", ["", "{", "[]", None, 7, '{"all_seeds": 3, "infotexts": {}, "sd_model_name": []}']
)
def test_strange_words_about_pictures_do_no_harm(info: Any) -> None:
    assert Info.read(info) == Info()


def test_a_broken_picture_does_not_spoil_the_others_or_their_seeds() -> None:
    good = "data:image/png;base64," + base64.b64encode(b"png").decode()
    info = Info.read(json.dumps({"all_seeds": [4, 5, 6]}))

    images = read_pictures(["***", good, None], info, count=3, has_mask=False)

    assert [(each.data, each.seed) for each in images] == [(b"png", 5)]


def test_an_interrupted_count_is_taken_from_the_texts_of_the_pictures() -> None:
    info = Info.read(json.dumps({"all_seeds": [4, 5, 6], "infotexts": ["a"]}))

    images = read_pictures(["AAAA", "BBBB"], info, count=3, has_mask=False)

    assert len(images) == 1
