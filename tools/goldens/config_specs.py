"""config.json values of released checkpoints, and the MoE fields they mean.

tests/data/configs/<family>.json   the keys that decide shapes and the MoE layer, with the published values (the rest of the
                                   file, such as dropout or the rope scaling of long contexts, is left out)
tests/data/configs/expected.json   per family: router, sizes and layer in the spec's JSON, from transformers' modules

The values are written here from the published files. Each is then read by transformers' own config class, and what that
class understood is compared with the expected fields, so that a mistyped key or a wrong name cannot stand.
kimi_linear_48b_saved is what transformers writes after reading the released file; kimi_linear_48b_class has the names of
KimiLinearConfig's own fields, which transformers reads but does not write.
"""

import json
import tempfile

import transformers

import common
from kimi_linear import class_config

OUT = "configs"

SLIDING_3_FULL_1 = ["sliding_attention"] * 3 + ["full_attention"]
TRINITY = dict(
    architectures=["AfmoeForCausalLM"], attention_dropout=0.0, dtype="bfloat16", global_attn_every_n_layers=4, head_dim=128,
    hidden_act="silu", initializer_range=0.02, load_balance_coeff=0.001, max_position_embeddings=131072, model_type="afmoe",
    mup_enabled=True, n_group=1, num_dense_layers=2, num_expert_groups=1, num_experts=128, num_experts_per_tok=8,
    num_limited_groups=1, num_shared_experts=1, rms_norm_eps=1e-05, rope_scaling=None, rope_theta=10000, route_norm=True,
    route_scale=2.826, score_func="sigmoid", sliding_window=2048, tie_word_embeddings=False, topk_group=1, use_cache=True,
    use_grouped_mm=True, vocab_size=200192)

CONFIGS = {
    "trinity_mini": TRINITY | dict(
        hidden_size=2048, intermediate_size=6144, layer_types=SLIDING_3_FULL_1 * 8, moe_intermediate_size=1024,
        num_attention_heads=32, num_hidden_layers=32, num_key_value_heads=4),
    "trinity_nano": TRINITY | dict(
        hidden_size=1024, intermediate_size=3072, layer_types=SLIDING_3_FULL_1 * 14, moe_intermediate_size=256,
        num_attention_heads=8, num_hidden_layers=56, num_key_value_heads=2),
    "kimi_linear_48b": dict(
        architectures=["KimiLinearForCausalLM"], bos_token_id=163584, dtype="bfloat16", eos_token_id=163586,
        first_k_dense_replace=1, head_dim=72, hidden_act="silu", hidden_size=2304, initializer_range=0.02,
        intermediate_size=9216, kv_lora_rank=512,
        linear_attn_config=dict(
            full_attn_layers=[4, 8, 12, 16, 20, 24, 27], head_dim=128,
            kda_layers=[1, 2, 3, 5, 6, 7, 9, 10, 11, 13, 14, 15, 17, 18, 19, 21, 22, 23, 25, 26], num_heads=32,
            short_conv_kernel_size=4),
        mla_use_nope=True, model_max_length=1048576, model_type="kimi_linear", moe_intermediate_size=1024, moe_layer_freq=1,
        moe_renormalize=True, moe_router_activation_func="sigmoid", num_attention_heads=32, num_expert_group=1,
        num_experts=256, num_experts_per_token=8, num_hidden_layers=27, num_key_value_heads=32, num_nextn_predict_layers=0,
        num_shared_experts=1, pad_token_id=163839, q_lora_rank=None, qk_nope_head_dim=128, qk_rope_head_dim=64,
        rms_norm_eps=1e-05, rope_scaling=None, rope_theta=10000.0, routed_scaling_factor=2.446, tie_word_embeddings=False,
        topk_group=1, use_cache=True, use_grouped_topk=True, v_head_dim=128, vocab_size=163840),
    "deepseek_v3": dict(
        architectures=["DeepseekV3ForCausalLM"], model_type="deepseek_v3", ep_size=1, first_k_dense_replace=3,
        hidden_act="silu", hidden_size=7168, intermediate_size=18432, kv_lora_rank=512, moe_intermediate_size=2048,
        moe_layer_freq=1, n_group=8, n_routed_experts=256, n_shared_experts=1, norm_topk_prob=True, num_attention_heads=128,
        num_experts_per_tok=8, num_hidden_layers=61, num_key_value_heads=128, num_nextn_predict_layers=1, q_lora_rank=1536,
        qk_nope_head_dim=128, qk_rope_head_dim=64,
        quantization_config=dict(activation_scheme="dynamic", fmt="e4m3", quant_method="fp8", weight_block_size=[128, 128]),
        rms_norm_eps=1e-06, rope_theta=10000, routed_scaling_factor=2.5, scoring_func="sigmoid", tie_word_embeddings=False,
        topk_group=4, topk_method="noaux_tc", torch_dtype="bfloat16", v_head_dim=128, vocab_size=129280),
    "deepseek_v2": dict(
        architectures=["DeepseekV2ForCausalLM"], model_type="deepseek_v2", first_k_dense_replace=1, hidden_act="silu",
        hidden_size=5120, intermediate_size=12288, kv_lora_rank=512, moe_intermediate_size=1536, moe_layer_freq=1, n_group=8,
        n_routed_experts=160, n_shared_experts=2, norm_topk_prob=False, num_attention_heads=128, num_experts_per_tok=6,
        num_hidden_layers=60, num_key_value_heads=128, q_lora_rank=1536, qk_nope_head_dim=128, qk_rope_head_dim=64,
        rms_norm_eps=1e-06, rope_theta=10000, routed_scaling_factor=16.0, scoring_func="softmax", topk_group=3,
        topk_method="group_limited_greedy", torch_dtype="bfloat16", v_head_dim=128, vocab_size=102400),
    "qwen3_30b_a3b": dict(
        architectures=["Qwen3MoeForCausalLM"], model_type="qwen3_moe", decoder_sparse_step=1, head_dim=128, hidden_act="silu",
        hidden_size=2048, intermediate_size=6144, max_window_layers=48, mlp_only_layers=[], moe_intermediate_size=768,
        norm_topk_prob=True, num_attention_heads=32, num_experts=128, num_experts_per_tok=8, num_hidden_layers=48,
        num_key_value_heads=4, rms_norm_eps=1e-06, rope_theta=1000000.0, router_aux_loss_coef=0.001, sliding_window=None,
        tie_word_embeddings=False, torch_dtype="bfloat16", vocab_size=151936),
    "qwen3_next_80b_a3b": dict(
        architectures=["Qwen3NextForCausalLM"], model_type="qwen3_next", decoder_sparse_step=1, full_attention_interval=4,
        head_dim=256, hidden_act="silu", hidden_size=2048, intermediate_size=5120, linear_conv_kernel_dim=4,
        linear_key_head_dim=128, linear_num_key_heads=16, linear_num_value_heads=32, linear_value_head_dim=128,
        mlp_only_layers=[], moe_intermediate_size=512, norm_topk_prob=True, num_attention_heads=16, num_experts=512,
        num_experts_per_tok=10, num_hidden_layers=48, num_key_value_heads=2, partial_rotary_factor=0.25, rms_norm_eps=1e-06,
        rope_theta=10000000, router_aux_loss_coef=0.001, shared_expert_intermediate_size=512, tie_word_embeddings=False,
        torch_dtype="bfloat16", vocab_size=151936),
    "mixtral_8x7b": dict(
        architectures=["MixtralForCausalLM"], model_type="mixtral", hidden_act="silu", hidden_size=4096,
        intermediate_size=14336, num_attention_heads=32, num_experts_per_tok=2, num_hidden_layers=32, num_key_value_heads=8,
        num_local_experts=8, rms_norm_eps=1e-05, rope_theta=1000000.0, router_aux_loss_coef=0.02, sliding_window=None,
        tie_word_embeddings=False, torch_dtype="bfloat16", vocab_size=32000),
    "glm_4_5": dict(
        architectures=["Glm4MoeForCausalLM"], model_type="glm4_moe", attention_bias=True, first_k_dense_replace=3,
        head_dim=128, hidden_act="silu", hidden_size=5120, intermediate_size=12288, moe_intermediate_size=1536, n_group=1,
        n_routed_experts=160, n_shared_experts=1, norm_topk_prob=True, num_attention_heads=96, num_experts_per_tok=8,
        num_hidden_layers=92, num_key_value_heads=8, num_nextn_predict_layers=1, partial_rotary_factor=0.5,
        rms_norm_eps=1e-05, rope_theta=1000000, routed_scaling_factor=2.5, tie_word_embeddings=False, topk_group=1,
        torch_dtype="bfloat16", use_qk_norm=True, vocab_size=151552),
    "minimax_m2": dict(
        architectures=["MiniMaxM2ForCausalLM"], model_type="minimax_m2", head_dim=128, hidden_act="silu", hidden_size=3072,
        intermediate_size=1536, mlp_intermediate_size=8192, num_attention_heads=48, num_experts_per_tok=8,
        num_hidden_layers=62, num_key_value_heads=8, num_local_experts=256, num_mtp_modules=3, qk_norm_type="per_layer",
        quantization_config=dict(
            activation_scheme="dynamic", fmt="float8_e4m3fn", quant_method="fp8", weight_block_size=[128, 128],
            modules_to_not_convert=["gate", "e_score_correction_bias", "lm_head"]),
        rms_norm_eps=1e-06, rope_theta=5000000, rotary_dim=64, router_aux_loss_coef=0.001, router_jitter_noise=0.0,
        scoring_func="sigmoid", shared_intermediate_size=0, shared_moe_mode="sigmoid", tie_word_embeddings=False,
        use_qk_norm=True, use_routing_bias=True, vocab_size=200064),
    "gpt_oss_20b": dict(
        architectures=["GptOssForCausalLM"], model_type="gpt_oss", attention_bias=True, experts_per_token=4, head_dim=64,
        hidden_act="silu", hidden_size=2880, intermediate_size=2880,
        layer_types=["sliding_attention", "full_attention"] * 12, num_attention_heads=64, num_experts_per_tok=4,
        num_hidden_layers=24, num_key_value_heads=8, num_local_experts=32,
        quantization_config=dict(
            modules_to_not_convert=["model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"],
            quant_method="mxfp4"),
        rms_norm_eps=1e-05, rope_theta=150000, router_aux_loss_coef=0.9, sliding_window=128, swiglu_limit=7.0,
        tie_word_embeddings=False, vocab_size=201088),
    "olmoe_1b_7b": dict(
        architectures=["OlmoeForCausalLM"], model_type="olmoe", attention_bias=False, clip_qkv=None, hidden_act="silu",
        hidden_size=2048, intermediate_size=1024, norm_topk_prob=False, num_attention_heads=16, num_experts=64,
        num_experts_per_tok=8, num_hidden_layers=16, num_key_value_heads=16, rms_norm_eps=1e-05, rope_theta=10000.0,
        router_aux_loss_coef=0.01, tie_word_embeddings=False, torch_dtype="bfloat16", vocab_size=50304),
    "ernie_4_5_21b_a3b": dict(
        architectures=["Ernie4_5_MoeForCausalLM"], model_type="ernie4_5_moe", hidden_act="silu", hidden_size=2560,
        intermediate_size=12288, moe_intermediate_size=1536, moe_k=6, moe_layer_end_index=-1, moe_layer_interval=1,
        moe_layer_start_index=1, moe_num_experts=64, moe_num_shared_experts=2, moe_use_aux_free=True, num_attention_heads=20,
        num_hidden_layers=28, num_key_value_heads=4, rms_norm_eps=1e-05, rope_theta=500000.0, tie_word_embeddings=True,
        torch_dtype="bfloat16", use_bias=False, vocab_size=103424),
}

SOFTMAX = dict(score_func="softmax")
PLAIN = dict(norm_topk_prob=True, norm_eps=0.0, norm_rule="add")
V3 = dict(score_func="sigmoid", e_score_correction_bias=True, norm_topk_prob=True, norm_eps=1e-20, norm_rule="add")


def fields(num_experts, top_k, hidden, inter, router, layer=None, experts=None):
    return {"router": {"num_experts": num_experts, "top_k": top_k, **router},
            "experts": {"hidden_size": hidden, "intermediate_size": inter, "activation": "swiglu", **(experts or {})},
            "layer": layer or {}}


SHARED1 = dict(num_shared_experts=1)
KIMI = fields(256, 8, 2304, 1024, V3 | dict(routed_scaling_factor=2.446), SHARED1)
EXPECTED = {
    "trinity_mini": fields(128, 8, 2048, 1024, V3 | dict(routed_scaling_factor=2.826), SHARED1),
    "trinity_nano": fields(128, 8, 1024, 256, V3 | dict(routed_scaling_factor=2.826), SHARED1),
    "kimi_linear_48b": KIMI,
    "kimi_linear_48b_saved": KIMI,
    "kimi_linear_48b_class": KIMI,
    "deepseek_v3": fields(256, 8, 7168, 2048, V3 | dict(n_group=8, topk_group=4, routed_scaling_factor=2.5), SHARED1),
    "deepseek_v2": fields(160, 6, 5120, 1536, SOFTMAX | dict(n_group=8, topk_group=3, group_score="max",
                                                            routed_scaling_factor=16.0), dict(num_shared_experts=2)),
    "qwen3_30b_a3b": fields(128, 8, 2048, 768, SOFTMAX | PLAIN),
    "qwen3_next_80b_a3b": fields(512, 10, 2048, 512, SOFTMAX | PLAIN,
                                 dict(num_shared_experts=1, shared_intermediate_size=512, shared_expert_gate=True)),
    "mixtral_8x7b": fields(8, 2, 4096, 14336, SOFTMAX | PLAIN),
    "glm_4_5": fields(160, 8, 5120, 1536, V3 | dict(routed_scaling_factor=2.5), SHARED1),
    "minimax_m2": fields(256, 8, 3072, 1536, dict(score_func="sigmoid", e_score_correction_bias=True) | PLAIN),
    "gpt_oss_20b": fields(32, 4, 2880, 2880, SOFTMAX | dict(score_order="after_topk", router_bias=True), None,
                          dict(swiglu_alpha=1.702, swiglu_beta=1.0, swiglu_limit=7.0, gate_up_bias=True, down_bias=True,
                               gate_up_order="interleaved")),
    "olmoe_1b_7b": fields(64, 8, 2048, 1024, SOFTMAX),
    "ernie_4_5_21b_a3b": fields(64, 6, 2560, 1536, SOFTMAX | dict(e_score_correction_bias=True, norm_topk_prob=True,
                                                                 norm_eps=1e-12, norm_rule="clamp"),
                                dict(num_shared_experts=2)),
}


def understood(name, values):
    """What transformers' config class makes of a file: the numbers that the MoE layer needs."""
    config = transformers.AutoConfig.for_model(values["model_type"])
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/config.json"
        with open(path, "w") as f:
            json.dump(values, f)
        config = type(config).from_pretrained(folder)
    first = lambda *names, default=None: next((getattr(config, n) for n in names if getattr(config, n, None) is not None), default)
    inter = first("intermediate_size") if values["model_type"] in ("mixtral", "olmoe", "minimax_m2", "gpt_oss") else first(
        "moe_intermediate_size")
    return config, dict(
        num_experts=first("num_local_experts", "n_routed_experts", "num_experts"), top_k=first("num_experts_per_tok"),
        hidden_size=config.hidden_size, intermediate_size=inter,
        factor=first("route_scale", "routed_scaling_factor", default=1.0),
        groups=(first("n_group", default=1), first("topk_group", default=1)),
        shared=first("n_shared_experts", "num_shared_experts", "moe_num_shared_experts",
                     default=1 if first("shared_expert_intermediate_size") else 0))


def check(name, values):
    want = EXPECTED[name]
    router, experts, layer = want["router"], want["experts"], want["layer"]
    config, got = understood(name, values)
    assert got == dict(
        num_experts=router["num_experts"], top_k=router["top_k"], hidden_size=experts["hidden_size"],
        intermediate_size=experts["intermediate_size"], factor=router.get("routed_scaling_factor", 1.0),
        groups=(router.get("n_group", 1), router.get("topk_group", 1)), shared=layer.get("num_shared_experts", 0)), (name, got)
    return config


def main():
    path = common.fresh_dir(OUT)
    files = dict(CONFIGS)
    kimi = check("kimi_linear_48b", files["kimi_linear_48b"])
    saved = json.loads(kimi.to_json_string(use_diff=True))
    files["kimi_linear_48b_saved"] = {"architectures": ["KimiLinearForCausalLM"], **saved}
    # The released keys that the class does not know pass through it unchanged; a file of its own names has none of them.
    known = set(transformers.KimiLinearConfig().to_dict()) | set(transformers.KimiLinearConfig.attribute_map)
    files["kimi_linear_48b_class"] = class_config(
        {k: v for k, v in files["kimi_linear_48b_saved"].items() if k in known})
    for name, values in files.items():
        check(name, values)
        common.write_json(path / f"{name}.json", dict(sorted(values.items())), indent=1)
    common.write_json(path / "expected.json", {"versions": common.versions(), "specs": EXPECTED}, indent=1)
    print(len(files), "configs,", common.directory_bytes(path) // 1024, "KiB")


if __name__ == "__main__":
    main()
