"""My own model: a plain PyTorch network that the library does not know, and the adapter that it needs."""

import tempfile
from zlib import crc32

import torch
from torch import nn

import multidelete as md


class OwnAdapter(md.Adapter):
    family = "own"

    def collate(self, pairs):
        words = [torch.tensor([1 + crc32(w.encode()) % 4095 for w in p.inputs["text"].split()]) for p in pairs]
        text = nn.utils.rnn.pad_sequence(words, batch_first=True)
        pictures = [md.open_image(p.inputs["image"]).resize((24, 24)) for p in pairs]
        image = torch.tensor([list(picture.tobytes()) for picture in pictures]) / 128 - 1
        return md.Batch([p.id for p in pairs], {"image": {"x": image}, "text": {"x": text}}, md.stacked_sources(pairs))

    def truncated(self, pairs):
        return []  # texts of any length are read

    def forward(self, batch):
        seen = {name: self.model[name](tensors["x"]) for name, tensors in batch.inputs.items()}
        joint = {name: nn.functional.normalize(self.model["to_joint"](state)) for name, state in seen.items()}
        h = joint["image"] * joint["text"]
        return md.PairOutputs(unimodal=seen, joint=h, score=h.sum(dim=1), embeddings=joint)

    def task_loss(self, outputs, batch):
        shared = (batch.sources["image"][:, None] == batch.sources["image"]).fill_diagonal_(False)  # no negatives
        logits = (20 * outputs.embeddings["image"] @ outputs.embeddings["text"].T).masked_fill(shared, -torch.inf)
        return -logits.log_softmax(dim=0).diagonal() - logits.log_softmax(dim=1).diagonal()

    def joint_parameters(self):
        return ["model.to_joint.weight", "model.to_joint.bias"]

    def save(self, folder):
        torch.save(self.model.state_dict(), folder / "model.pt")


torch.manual_seed(0)
data, original = md.personas(people=60, unseen=40, views=1, size=32), OwnAdapter()
see, read = nn.Linear(24 * 24 * 3, 128), nn.EmbeddingBag(4096, 128, mode="sum", padding_idx=0)
original.model = nn.ModuleDict({"image": see, "text": read, "to_joint": nn.Linear(128, 64)})
optimizer, batch = torch.optim.AdamW(original.parameters(), lr=2e-3), original.collate(data.train.pairs)
for _ in range(80):
    optimizer.zero_grad()
    original.task_loss(original(batch), batch).mean().backward()
    optimizer.step()
forget = [pair.id for pair in data.train if pair.subject.endswith("3")]
unlearned = md.unlearn(original, data, forget).adapter
with tempfile.TemporaryDirectory() as folder:
    verdict = md.audit(unlearned, original, data, forget, out=f"{folder}/report").verdict
print(f"{verdict.outcome}: {verdict.headline}")
for row in verdict.rows:
    print(f"{row.name}: original {row.original.value:.2f}, unlearned {row.unlearned.value:.2f}; {row.target}")
