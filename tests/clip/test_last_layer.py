"""The last layer computes the class token only, with the same features and gradients."""

import torch


def test_the_last_layer_computes_the_class_token_only_and_nothing_changes(tiny_clip):
    """Features and every adapter's gradient, in double precision, against transformers' own forward."""
    from peft import LoraConfig, get_peft_model
    from transformers import CLIPModel

    from mgclip.clip.last_layer import compute_class_token_only_in_last_layer

    results = []
    for shortened in (False, True):
        torch.manual_seed(4)
        model = CLIPModel.from_pretrained(tiny_clip, attn_implementation="sdpa").double().eval().requires_grad_(False)
        tuned = get_peft_model(
            model, LoraConfig(r=4, target_modules=["q_proj", "k_proj", "v_proj", "out_proj"], init_lora_weights=False)
        )
        if shortened:
            compute_class_token_only_in_last_layer(model)
        pixels = torch.randn(5, 3, 32, 32, dtype=torch.double, generator=torch.Generator().manual_seed(1))
        rows = []
        hook = model.vision_model.encoder.layers[-1].mlp.register_forward_hook(lambda m, x, y, rows=rows: rows.append(y.shape[1]))
        features = model.visual_projection(model.vision_model(pixel_values=pixels).pooler_output)
        hook.remove()
        (features**3).sum().backward()
        results.append(
            (
                features,
                {name: w.grad for name, w in tuned.named_parameters() if "vision" in name and w.grad is not None},
                rows,
            )
        )
    (plain, slopes, all_tokens), (short, same, one) = results
    assert (all_tokens, one) == ([17], [1])
    torch.testing.assert_close(short, plain, atol=1e-12, rtol=1e-10)
    assert len(slopes) == 2 * 4 * 2
    for name, slope in slopes.items():
        torch.testing.assert_close(same[name], slope, atol=1e-9, rtol=1e-7)
