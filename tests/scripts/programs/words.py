"""A bag-of-words model of sentences: a vocabulary, embeddings, padding, accuracy by hand."""
import torch
import torch.nn as nn
import torch.nn.functional as F

torch.manual_seed(1)
SENTENCES = [("the cat sat on the mat", 0), ("a dog ran in the park", 0), ("stocks fell on friday", 1),
             ("the bank raised rates", 1), ("a cat and a dog", 0), ("rates and stocks", 1)]
vocab = {"<pad>": 0}
for text, _ in SENTENCES:
    for word in text.split():
        vocab.setdefault(word, len(vocab))
length = max(len(t.split()) for t, _ in SENTENCES)
ids = torch.zeros(len(SENTENCES), length, dtype=torch.long)
for row, (text, _) in enumerate(SENTENCES):
    ids[row, :len(text.split())] = torch.tensor([vocab[w] for w in text.split()])
labels = torch.tensor([label for _, label in SENTENCES])


class Bag(nn.Module):
    def __init__(self, words, width=8):
        super().__init__()
        self.embedding = nn.Embedding(words, width, padding_idx=0)
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, 2)

    def forward(self, ids):
        mask = (ids != 0).unsqueeze(-1)
        e = self.embedding(ids).masked_fill(~mask, 0.0)
        mean = e.sum(dim=1) / mask.sum(dim=1)
        return self.out(self.norm(mean))


model = Bag(len(vocab))
print(model, len(vocab), ids.shape)
optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
for step in range(30):
    model.zero_grad()
    scores = model(ids)
    loss = F.cross_entropy(scores, labels)
    loss.backward()
    optimizer.step()
    if step % 10 == 0:
        print(step, f"{loss.item():.3f}")
probability, predicted = F.softmax(model(ids), dim=1).max(dim=1)
print(predicted, (predicted == labels).float().mean().item(), [f"{p:.2f}" for p in probability.tolist()])
print(model.embedding.weight.grad[0].abs().sum().item(), model.embedding.weight[0])
values, places = torch.topk(model.embedding.weight.norm(dim=1), 3)
print(places.tolist(), [f"{v:.3f}" for v in values.tolist()])
