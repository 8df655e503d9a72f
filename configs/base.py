"""Every field of a run, once: meaning, unit, and the reason for its value.

An experiment is a file beside this one that changes fields. On the command line any
field is overridden as --config.group.field=value.
"""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    """The defaults: the 128 px diffusion stage."""
    config = ml_collections.ConfigDict()
    # Which networks train: "autoencoder" (the decoder, on photos), "id2face" (all but
    # the decoder), "finishing" (the decoder, on what the others give).
    config.task = "id2face"
    config.seed = 0  # initial weights, data order, noise
    config.data = _data()
    config.autoencoder = _autoencoder()
    config.model = _model()
    config.loss = _loss()
    config.optim = _optim()
    config.train = _train()
    config.mesh = ml_collections.ConfigDict({"data": -1, "fsdp": 1})  # -1: the rest
    # First match wins; a leaf without a rule and a rule without a leaf are errors.
    config.sharding_rules = (
        ("(bias|null_identity|position|mean|matrix)$", "replicate"),
        ("mix/kernel$", "replicate"),  # 3x3xc: small
        ("kernel$", "fsdp"),
    )
    return config


def _data() -> ml_collections.ConfigDict:
    data = ml_collections.ConfigDict()
    data.records = "runs/records/lfw"  # folder that `id2face prepare` wrote
    data.split = "train"
    data.image_size = 160  # pixels of a crop
    # What a crop shows of the 112-unit template: its side, and the point in its middle.
    # 136 units hold the whole mask; 160 showed the face 18 % smaller.
    data.crop_units = 136.0
    data.crop_center = (56.0, 68.0)
    data.batch_size = 16  # pairs a step, over all hosts; each pair trains both ways
    data.pair_prob = 0.7  # two photos, where the person has them; else a self-pair
    data.max_photos_per_person = 20  # an epoch; a few people have hundreds
    # (beginning of people's names, times their slots come in an epoch): small sets.
    data.repeats = ()
    data.flip_prob = 0.5  # each photo on its own
    data.color_jitter = 0.1  # strength of brightness, contrast, saturation
    data.num_threads = 1  # readers; two cores are busy with the step
    return data


def _autoencoder() -> ml_collections.ConfigDict:
    ae = ml_collections.ConfigDict()
    ae.kind = "embedded"  # or "stable_diffusion", see configs/full_scale.py
    # Export of the trained autoencoder for the diffusion stage; "random": untrained.
    ae.weights = ""
    ae.factor = 10  # pixels of the image to a latent cell, on each axis: 8 or 10
    # Of the 300 numbers of a 10x10 cell: brightness up to the third order, and the
    # coarse colors. Finer ones the UNet did not predict at all (docs/second_design.md);
    # they are the decoder's to draw.
    ae.latent_channels = 14
    ae.dims = (96, 192)  # widths of the decoder on half cells and on cells
    ae.depths = (3, 3)
    # White noise added in training, up to so much, another amount for each photo: the
    # decoder also takes out what an imperfect sampler leaves.
    ae.latent_noise = 0.4
    ae.l1_weight = 2.0
    ae.l2_weight = 0.0  # would make the mean of all fitting pictures, which is soft
    # Of task "finishing": see training/finishing.py.
    ae.anchor = 2.0
    ae.critic_dim = 64  # width of the critic of pixels
    ae.critic = 1.0  # its own loss; nothing else feels it
    ae.smooth = 200.0  # of that loss: half of the critic's squared gradient
    ae.adversarial = 0.05  # against what it sees: detail in place of softness
    return ae


def _model() -> ml_collections.ConfigDict:
    model = ml_collections.ConfigDict()
    model.kind = "embedded"  # or "stable_diffusion": which UNet
    model.embedding_dim = 128  # of the recognizer that made the records
    # Or "gaussian": random directions in place of the learned space. This, harmonizer
    # and masked are for ablations, as weights of 0 in the next group are.
    model.identity_space = "vae"
    model.identity_dim = 128  # of u
    model.identity_hidden_dim = 256
    model.attribute_channels = 12  # on the coarse grid: mouth, gaze and light need room
    model.attribute_stride = 2  # latent cells to a cell of that grid, on each axis
    model.attribute_dim = 192
    model.attribute_depth = 2
    model.leak_probe_dim = 512  # width of the adversary that reads identity from them
    model.condition_dim = 128
    model.portrait = True  # the UNet sees the identity template, the average face
    model.identity_grid = 8  # cells of the identity's map on each axis; 0: a vector
    model.harmonizer = "identity_gated"  # or "gated", "sum": see models/harmonizer.py
    model.masked = True  # the UNet sees what is outside the mask, and paints inside
    model.unet_dims = (128, 256, 384)  # at 1/8, 1/16 and 1/32 of the image
    model.unet_depths = (1, 2, 2)
    model.unet_ratio = 3.0
    model.unet_attention_from = 1  # level; attention at 1/16 and 1/32
    # Fused kernels where the chips and shapes have one; "xla": nowhere.
    model.attention = "auto"
    # Or "scaled_x0", "x0", "v"; "eps" under stable_diffusion alone.
    model.prediction = "preconditioned"
    model.schedule = "cosine"  # or "stable_diffusion": the noise levels of its UNet
    model.schedule_shift = 1.0  # cosine alone; above 1: more signal at the same t
    # Of grids, and what an export does by default.
    # By eye best so far; at temperature 1 there are blotches (docs/second_design.md).
    model.sample_steps = 4  # DDIM steps
    model.sample_temperature = 0.6  # scale of the noise that sampling starts from
    return model


def _loss() -> ml_collections.ConfigDict:
    loss = ml_collections.ConfigDict()
    loss.recomposition = 1.0
    # Times of recomposed rows: a share of exactly 1, where sampling starts, and a
    # logit-normal for the rest: near 0 and near 1 there is little to learn.
    loss.t_one_share = 0.1
    loss.t_mean, loss.t_std = 0.3, 1.1
    loss.max_v_weight = 1.0  # limit of 1/sigma^2, for predictions of x0 alone
    loss.outside_mask = 0.1  # weight of latents that z_m already shows
    loss.feature_weight = 2.5  # of the cells around eyes and mouth
    loss.identity_reconstruction = 1.0
    loss.identity_kl = 1e-3  # a nat
    loss.identity_free_nats = 0.05  # a dimension
    loss.identity_consistency = 1.0
    loss.identity_alignment = 0.02
    loss.portrait = 1.0  # of the identity template
    loss.attribute_kl = 1e-4  # a nat; 3e-4 silenced narrow attributes in 300 steps
    loss.leak_probe = 1.0  # the adversary's own loss; nothing else feels it
    loss.identity_leak = 2.0  # against what the adversary reads; 0: it only measures
    # A recognizer beside dlib's, of another kind, which sees what dlib does not: folder
    # that `id2face convert` wrote, see docs/second_design.md; "": none.
    loss.second_recognizer = ""
    loss.second_dim = 1024  # length of its embeddings; this is faceres'
    loss.second_probe = 1.0  # of the adversary that guesses them; its own loss
    loss.second_leak = 2.0  # against what that adversary reads
    loss.second_source = 0.1  # against what it sees on deployed rows
    loss.verifier_dim = 256  # width of the second adversary; 0: none
    loss.verifier = 1.0  # its own loss
    loss.verified_leak = 1.0  # against how well it tells people apart
    loss.identity_dropout = 0.1  # share of samples that see the null identity
    # Each n-th pair is treated as the anonymizer does; 0: none.
    loss.deployed_every = 4
    # Each n-th pair, from the second on, is given back its identity by the one that is
    # asked for, with attributes of an anonymized face; 0: none.
    loss.returned_every = 4
    loss.deployed_t_min = 0.3  # half of its photos start at t = 1, half between
    loss.deployed_angle = 120.0  # degrees between asked and source identity
    # Sampled identities keep the source's apparent sex, age and skin tone; for
    # embeddings of the built-in recognizer alone. Whichever identities are sampled here
    # come out painted against the recognizers below (docs/second_design.md).
    loss.deployed_appearance = False
    # Holds pose, mouth and light of sampled identities to the photo's.
    loss.attribute_alignment = 0.3
    # By a frozen recognizer. Its gradient is large, and more of it draws caricatures:
    # returned rows teach who appears.
    loss.asked_identity = 0.02
    loss.source_identity = 0.05
    loss.critic_dim = 96  # width of the critic of latents; 0: none
    loss.critic_t_max = 1.0  # largest t whose estimate it sees
    loss.critic = 1.0  # its own loss; nothing else feels it
    loss.adversarial = 0.06  # against what it sees
    return loss


def _optim() -> ml_collections.ConfigDict:
    optim = ml_collections.ConfigDict()
    optim.lr = 1e-3
    optim.lr_warmup_steps = 50
    optim.lr_cooldown_steps = 0  # at the end, down to lr * lr_final_ratio
    optim.lr_final_ratio = 0.02
    # (regex of parameters' paths, times the rate): the first that fits; 0 freezes them.
    optim.lr_multipliers = ()
    optim.b1 = 0.9
    optim.adversary_b1 = 0.5  # of critic, leak probe, verifier: they chase a moving aim
    optim.b2 = 0.99  # short runs: the second moment must forget in hundreds of steps
    optim.weight_decay = 0.01
    optim.clip_norm = 1.0
    optim.ema_decay = 0.999
    optim.accumulate = 1  # micro-batches a step; batch_size stays the step's total
    return optim


def _train() -> ml_collections.ConfigDict:
    train = ml_collections.ConfigDict()
    train.num_steps = 20_000
    train.log_every = 50  # steps, as the next two
    train.sample_every = 1_000
    train.num_validation_batches = 2  # for the held-out loss, at each sample_every
    train.save_every = 500
    train.keep = 2  # newest checkpoints kept
    # Wall clock from the start of the process, compiling included, after which the run
    # saves and ends; 0: none. For machines that are lent for minutes.
    train.max_minutes = 0.0
    train.profile_at = 0  # step after which a profile is taken; 0: none
    train.profile_steps = 3  # that it covers; TensorBoard shows it
    train.dtype = "float32"  # or "bfloat16": inside of the networks
    train.remat = "none"  # "full" or "dots": what the backward pass recomputes
    train.init_from = ""  # export to warm-start params and EMA from
    # Fields of that export's config that may differ: the noise schedule's, prediction.
    train.allow_changed = ()
    return train
